"""Models that a fine-tuning run starts from, or answers with."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import tf_keras
from absl import logging

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf import wordpiece
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.checkpoints import names
from mobilebert_tf.checkpoints import weight as weight_lib
from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.experiments import model_config
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import configured
from mobilebert_tf.tasks import networks

# These say themselves what network they hold.
_DESCRIBED_FORMATS = (weight_lib.NATIVE, weight_lib.HUGGINGFACE)
_HEAD_LAYERS = {
    model_directory.SEQUENCE_CLASSIFICATION: "classifier",
    model_directory.MULTIPLE_CHOICE: "classifier",
    model_directory.TOKEN_CLASSIFICATION: "classifier",
    model_directory.QUESTION_ANSWERING: "span",
}


class Reader(NamedTuple):
    """What the features of a model are made with.

    Attributes:
        vocab_file: str.
        lower_case: bool. Whether the vocabulary is uncased.
        labels: names of the labels, () for heads without.
        tokenizer_mode: one of wordpiece.MODES: as in training, or as clients
            on a device make tokens of the same text.
    """

    vocab_file: str
    lower_case: bool
    labels: tuple[str, ...]
    tokenizer_mode: str = wordpiece.BERT

    def make_tokenizer(self) -> tokenization.WordPieceTokenizer:
        """Returns the tokenizer of the vocabulary."""
        return tokenization.WordPieceTokenizer(
            self.vocab_file, self.lower_case, self.tokenizer_mode
        )


class Start(NamedTuple):
    """What a run starts from.

    Attributes:
        network: MobileBertConfig, with the run's dropout.
        vocab_file: str.
        lower_case: bool. Whether the vocabulary is uncased.
        encoder: pre-trained, or None for random weights.
        head: fine-tuned before, or None for random weights.
        head_labels: of `head`, () for heads without.
    """

    network: config_lib.MobileBertConfig
    vocab_file: str
    lower_case: bool
    encoder: tf_keras.Model | None = None
    head: tf_keras.layers.Layer | None = None
    head_labels: tuple[str, ...] = ()

    def reader(self, labels: Sequence[str]) -> Reader:
        """Returns what the features of a model with these labels need."""
        return Reader(self.vocab_file, self.lower_case, tuple(labels))

    def head_for(self, labels: Sequence[str]) -> tf_keras.layers.Layer | None:
        """Returns the head if it has these labels, in this order."""
        return self.head if tuple(labels) == self.head_labels else None


class Trained(NamedTuple):
    """A fine-tuned model.

    Attributes:
        model: without dropout.
        network: MobileBertConfig.
        info: ModelInfo.
        vocab_file: str.
        folder: of the evaluation that is kept with the model, "" for none.
    """

    model: configured.ConfiguredModel
    network: config_lib.MobileBertConfig
    info: model_directory.ModelInfo
    vocab_file: str
    folder: str

    def reader(self) -> Reader:
        """Returns what its features are made with."""
        return Reader(self.vocab_file, self.info.lower_case, self.info.labels)


def start(config: fine_tuning_config.FineTuningTaskConfig, head: str) -> Start:
    """Reads init_checkpoint, or makes a network to start at random.

    Args:
        config: of the task.
        head: one of model_directory.HEADS. A checkpoint that was fine-tuned
            with the same brings it.

    Raises:
        ValueError: if a file is missing or wrong, `config.model` and the
            checkpoint do not agree on network or vocabulary, or the network
            is too short for the sequences.
    """
    if config.init_checkpoint:
        begin = _pretrained(config.init_checkpoint, config.model, head)
    else:
        begin = Start(
            networks.build(config.model),
            config.model.vocab_file,
            config.model.lower_case,
        )
    begin.network.check_sequence_length(
        config.max_seq_length, "task.max_seq_length"
    )
    return begin


def load_trained(
    config: fine_tuning_config.FineTuningTaskConfig, model_dir: str, head: str
) -> Trained:
    """Loads the best model of a run, else its newest.

    Where `model_dir` holds no model it is init_checkpoint, as in the official
    run_squad.py.

    Args:
        config: of the task.
        model_dir: of the run.
        head: one of model_directory.HEADS.

    Raises:
        ValueError: if there is none, or it is of another kind.
    """
    if not is_model(model_dir) and config.init_checkpoint:
        model, checkpoint, vocab_file = _read(
            config.init_checkpoint, config.model, head
        )
        if checkpoint.accounting.initialised:
            raise ValueError(
                f"--init_checkpoint={config.init_checkpoint}: expected a "
                f"fine-tuned model with head {head}, got no "
                f"{checkpoint.accounting.initialised[0]}"
            )
        return Trained(
            model, checkpoint.config, checkpoint.info, vocab_file, ""
        )
    return load(model_selection.best_or_newest(model_dir), head)


def load(folder: str, head: str) -> Trained:
    """Loads a fine-tuned model from its folder.

    Raises:
        ValueError: if `folder` holds no model, or one with another head.
    """
    check_head(folder, head)
    trained = model_directory.load(folder)
    return Trained(
        trained.model,
        trained.config,
        trained.info,
        os.path.join(folder, model_directory.VOCAB_FILE),
        folder,
    )


def is_model(model_dir: str) -> bool:
    """Returns whether `model_dir` is the folder of a model of any kind."""
    return os.path.isfile(os.path.join(model_dir, model_directory.INFO_FILE))


def check_head(model_dir: str, head: str) -> None:
    """Raises ValueError unless `model_dir` holds a model with this head."""
    files.require_directory(model_dir, "model_dir")
    info = model_directory.read_info(model_dir)
    if info.head != head:
        raise ValueError(
            f"{model_dir}: expected a fine-tuned model with head {head}, got "
            f"{info.head}"
        )


def _pretrained(path, given, head):
    model, checkpoint, vocab_file = _read(path, given, head)
    fresh = set(checkpoint.accounting.initialised)
    parts = {
        weight.part
        for weight in names.list_weights(
            checkpoint.config, head, len(checkpoint.labels)
        )
        if weight.name in fresh
    }
    if weight_lib.POOLER in parts:
        logging.warning("%s has no pooler: a fresh one", path)
    has_head = parts <= {weight_lib.POOLER}
    return Start(
        networks.with_dropout(checkpoint.config, given),
        vocab_file,
        checkpoint.lower_case,
        model.encoder,
        getattr(model, _HEAD_LAYERS[head]) if has_head else None,
        checkpoint.labels,
    )


def _read(path, given: model_config.ModelConfig, head):
    """Returns the Keras model, the checkpoint and the vocabulary's file."""
    options = {"head": head}
    if is_model(path):
        path = model_selection.best_or_newest(path)
    try:
        source_format = conversion.find_format(path)
        if source_format not in _DESCRIBED_FORMATS:
            options["config_file"] = given.bert_config_file or None
            options["vocab_file"] = given.vocab_file or None
            options["lower_case"] = given.lower_case
        checkpoint = conversion.read(path, source_format, **options)
    except ValueError as error:
        # The readers speak of the flags of convert_checkpoint.
        message = str(error).replace("--input=", "--init_checkpoint=")
        raise ValueError(
            message.replace("--config_file", "--bert_config_file")
        ) from error
    if given.bert_config_file:
        _check_stated(given.bert_config_file, checkpoint.config, path)
    vocab_file = _vocab_file(given.vocab_file, checkpoint.vocabulary, path)
    model = model_directory.make_model(
        model_directory.without_dropout(checkpoint.config), checkpoint.info
    )
    model.build_weights()
    conversion.assign(model, checkpoint)
    size = len(wordpiece.load_vocabulary(vocab_file))
    model_directory.check_vocabulary(size, checkpoint.config, vocab_file)
    return model, checkpoint, vocab_file


def _check_stated(config_file, network, path):
    stated = config_lib.MobileBertConfig.from_json_file(config_file)
    for field, value in stated.to_dict().items():
        if getattr(network, field) != value and "dropout" not in field:
            raise ValueError(
                f"--bert_config_file={config_file}: {field} is {value}, but "
                f"{getattr(network, field)} in --init_checkpoint={path}"
            )


def _vocab_file(given, carried, path):
    """Returns the file given, which must agree, or the one beside `path`."""
    if given:
        files.require_file(given, "vocab_file")
        if carried is not None and not wordpiece.same_vocabulary(
            files.read_bytes(given), carried
        ):
            raise ValueError(
                f"--vocab_file={given} differs from the vocabulary of "
                f"--init_checkpoint={path}"
            )
        return given
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    beside = os.path.join(folder, model_directory.VOCAB_FILE)
    if not os.path.isfile(beside) or (
        carried is not None
        and not wordpiece.same_vocabulary(files.read_bytes(beside), carried)
    ):
        raise ValueError(
            f"--vocab_file is required: --init_checkpoint={path} has not its "
            f"{model_directory.VOCAB_FILE} beside it"
        )
    return beside
