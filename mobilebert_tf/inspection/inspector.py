"""Puts together what is known of a network, its weights and activations."""

import dataclasses

import numpy as np

from mobilebert_tf.data import glue
from mobilebert_tf.inspection import activations
from mobilebert_tf.inspection import cost
from mobilebert_tf.inspection import padding
from mobilebert_tf.inspection import sources
from mobilebert_tf.inspection import texts
from mobilebert_tf.inspection import weights

# BERT's, where no vocabulary says otherwise.
_DEFAULT_PAD_ID = 0
_DEFAULT_SEQ_LENGTH = 128


@dataclasses.dataclass(frozen=True)
class Options:
    """What to inspect, and on what.

    Exactly one of the first four is given.

    Attributes:
        model_dir: folder of a trained model.
        preset: name of a preset.
        bert_config_file: a bert_config.json.
        checkpoint: a checkpoint of any format that can be converted.
        config_file: with `checkpoint`: its config, if none lies beside it.
        vocab_file: with `checkpoint`: its vocabulary, if none lies beside it.
        lower_case: with `checkpoint`: None takes what it says.
        seq_length: tokens per sequence: of the MACs, and to which texts are
            cut and padded. None takes 128, or all positions if there are
            fewer.
        text: a text, or two separated by a tab.
        text_file: file of such lines.
        num_texts: how many of them to use at most.
    """

    model_dir: str | None = None
    preset: str | None = None
    bert_config_file: str | None = None
    checkpoint: str | None = None
    config_file: str | None = None
    vocab_file: str | None = None
    lower_case: bool | None = None
    seq_length: int | None = None
    text: str | None = None
    text_file: str | None = None
    num_texts: int = 64


@dataclasses.dataclass(frozen=True)
class TextResults:
    """What was measured on texts.

    Attributes:
        examples: the texts.
        pieces: the tokens of each, without padding.
        activations: range of each tensor.
        pad_effect: None if every text fills the sequence.
    """

    examples: list[glue.Example]
    pieces: list[list[str]]
    activations: list[activations.ActivationRange]
    pad_effect: padding.PadEffect | None


@dataclasses.dataclass(frozen=True)
class Summary:
    """All that was found.

    Attributes:
        source: what was inspected.
        cost: parameters and MACs of its parts.
        weights: None without weights.
        pad_row: None without weights.
        on_texts: None without texts.
    """

    source: sources.Source
    cost: cost.Cost
    weights: list[weights.WeightRange] | None
    pad_row: padding.PadRow | None
    on_texts: TextResults | None


def inspect(options: Options) -> Summary:
    """Reads the source and measures all that its parts allow.

    Raises:
        ValueError: for wrong input, in one line.
    """
    read = _choose_reader(options)
    examples = _read_texts(options)
    source = read(options)
    length = options.seq_length
    if length is None:
        positions = source.config.max_position_embeddings
        length = min(_DEFAULT_SEQ_LENGTH, positions)
    source.config.check_sequence_length(length, "--seq_length")
    costs = cost.of_config(
        source.config, length, source.head, source.num_labels
    )
    if source.model is None:
        return Summary(source, costs, None, None, None)
    pad_row = padding.check_row(
        source.config,
        source.model.encoder.embeddings.word_table.numpy(),
        source.tokenizer.pad_id if source.tokenizer else _DEFAULT_PAD_ID,
    )
    return Summary(
        source,
        costs,
        weights.measure(source.model),
        pad_row,
        _measure_on_texts(source, examples, length) if examples else None,
    )


_READERS = {
    "model_dir": lambda o: sources.from_model_dir(o.model_dir),
    "preset": lambda o: sources.from_preset(o.preset),
    "bert_config_file": lambda o: sources.from_config_file(o.bert_config_file),
    "checkpoint": lambda o: sources.from_checkpoint(
        o.checkpoint, o.config_file, o.vocab_file, o.lower_case
    ),
}
_WITHOUT_WEIGHTS = ("preset", "bert_config_file")


def _choose_reader(options):
    given = [name for name in _READERS if getattr(options, name)]
    if len(given) != 1:
        wanted = ", ".join(f"--{name}" for name in _READERS)
        got = " and ".join(f"--{name}" for name in given) or "none"
        raise ValueError(f"expected exactly one of {wanted}; got {got}")
    (name,) = given
    if name in _WITHOUT_WEIGHTS and (options.text or options.text_file):
        raise ValueError(
            f"--{'text' if options.text else 'text_file'} needs weights, which "
            f"--{name} has not; give --model_dir or --checkpoint"
        )
    for flag, value in (
        ("config_file", options.config_file),
        ("vocab_file", options.vocab_file),
        ("do_lower_case", options.lower_case),
    ):
        if value is not None and name != "checkpoint":
            raise ValueError(f"--{flag} needs --checkpoint, got --{name}")
    return _READERS[name]


def _read_texts(options):
    if options.num_texts < 1:
        raise ValueError(
            f"--num_texts: expected at least 1, got {options.num_texts}"
        )
    if options.text and options.text_file:
        raise ValueError("expected one of --text and --text_file, got both")
    if options.text:
        return [texts.parse(options.text, "--text")]
    if options.text_file:
        return texts.read(options.text_file, options.num_texts)
    return []


def _measure_on_texts(source, examples, seq_length):
    if source.tokenizer is None:
        raise ValueError(
            f"{source.name}: texts need a vocabulary, none is known; give "
            "--vocab_file"
        )
    features = texts.features(examples, source.tokenizer, seq_length)
    vocabulary = np.array(source.tokenizer.vocabulary)
    encoder = source.model.encoder
    return TextResults(
        examples=examples,
        pieces=[
            vocabulary[ids[: mask.sum()]].tolist()
            for ids, mask in zip(
                features["input_word_ids"], features["input_mask"], strict=True
            )
        ],
        activations=activations.measure(encoder, features),
        pad_effect=padding.measure_effect(encoder, features),
    )
