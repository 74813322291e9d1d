"""Whether outputs depend on the padded length.

With trigram input the last real token's "next" vector is that of [PAD] when
the sequence is padded, and zero when it is not: unless that vector is zero or
the config's `pad_invariant` is set, the same text gives other outputs at
another padded length (Hugging Face issues #7070 and #9860).

Legend: N texts, S sequence, H hidden_size.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import encoder as encoder_lib


@dataclasses.dataclass(frozen=True)
class PadRow:
    """The word table's row of [PAD].

    Attributes:
        pad_id: its index.
        norm: its L2 norm.
        median_norm: the median norm of all rows.
        verdict: what it means for this network, in words.
        is_invariant: whether outputs at real positions should be independent
            of the padded length.
    """

    pad_id: int
    norm: float
    median_norm: float
    verdict: str
    is_invariant: bool


@dataclasses.dataclass(frozen=True)
class PadEffect:
    """How far outputs with and without padding are apart.

    Of each real position, the largest absolute difference over the channels is
    divided by the largest absolute value without padding.

    Attributes:
        num_texts: texts that were compared: those shorter than the sequence.
        embeddings: largest relative difference of the embeddings.
        first_token: that of the last block's output at [CLS], which
            classifiers read.
        output: that of the last block's output, anywhere.
        text: index of the text with the latter.
        position: its position.
    """

    num_texts: int
    embeddings: float
    first_token: float
    output: float
    text: int
    position: int


def check_row(
    config: config_lib.MobileBertConfig, word_table: np.ndarray, pad_id: int
) -> PadRow:
    """Returns what the row of [PAD] is, and means.

    Args:
        config: MobileBertConfig.
        word_table: float [V, E].
        pad_id: index of [PAD].
    """
    norms = np.linalg.norm(word_table, axis=1)
    reasons = _dependences(config, is_zero=not norms[pad_id])
    return PadRow(
        pad_id=pad_id,
        norm=float(norms[pad_id]),
        median_norm=float(np.median(norms)),
        verdict=(
            "outputs depend on the padded length: " + "; ".join(reasons)
            if reasons
            else f"outputs are independent of the padded length: "
            f"{_independence(config)}"
        ),
        is_invariant=not reasons,
    )


def _dependences(config, is_zero):
    reasons = []
    if config.trigram_input and not config.pad_invariant and not is_zero:
        reasons.append("the last real token reads the [PAD] row as its next")
    if config.attention_mask_type == config_lib.MULTIPLICATIVE_MASK:
        reasons.append("the multiplicative mask leaves padding some attention")
    return reasons


def _independence(config):
    if not config.trigram_input:
        return "a token reads its own row only"
    if config.pad_invariant:
        return "pad_invariant makes padding count as zeros"
    return "the [PAD] row is zero"


def measure_effect(
    encoder: encoder_lib.MobileBertEncoder, features: Mapping[str, np.ndarray]
) -> PadEffect | None:
    """Compares outputs of padded texts with those of the texts alone.

    Args:
        encoder: with weights.
        features: int32 [N, S]: input_word_ids, input_mask, input_type_ids.

    Returns:
        The largest differences; None if no text is padded.
    """
    run = _make_function(encoder, features)
    lengths = features["input_mask"].sum(axis=1)
    compared = [
        (text, *_compare(run, features, text, length))
        for text, length in enumerate(lengths)
        if length < features["input_mask"].shape[1]
    ]
    if not compared:
        return None
    text, _, output = max(compared, key=lambda result: result[2].max())
    return PadEffect(
        num_texts=len(compared),
        embeddings=float(max(result[1].max() for result in compared)),
        first_token=float(max(result[2][0] for result in compared)),
        output=float(output.max()),
        text=text,
        position=int(output.argmax()),
    )


def _make_function(encoder, features):
    """Embeddings and last output of any length, traced once: faster."""
    return tf.function(
        lambda inputs: _ends(encoder(inputs, training=False)),
        input_signature=[
            {name: tf.TensorSpec([1, None], tf.int32) for name in features}
        ],
    )


def _ends(outputs):
    return outputs["encoder_outputs"][0], outputs["sequence_output"]


def _compare(run, features, text, length):
    """Relative differences [length] of the embeddings and the last output."""
    padded, alone = (
        run(
            {
                name: tf.constant(values[text : text + 1, :size])
                for name, values in features.items()
            }
        )
        for size in (None, length)
    )
    return [
        _relative_differences(with_padding[0, :length], without[0])
        for with_padding, without in zip(padded, alone, strict=True)
    ]


def _relative_differences(actual, expected):
    """Of [S, H] tensors, per position."""
    error = np.abs(actual - expected).max(axis=-1)
    scale = np.abs(expected).max(axis=-1)
    return error / np.maximum(scale, np.finfo(np.float32).tiny)
