"""Small networks with weights that hide nothing, for the modeling tests."""

import numpy as np

from mobilebert_tf.modeling import config as config_lib

SIZES = dict(
    vocab_size=40,
    hidden_size=24,
    embedding_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=20,
    max_position_embeddings=12,
)
_STUDENT = dict(SIZES, intra_bottleneck_size=12)
_PLAIN = {**SIZES, "type_vocab_size": 3, "num_feedforward_networks": 2}

CONFIGS = {
    "mobilebert": config_lib.mobilebert(**_STUDENT),
    "tiny": config_lib.mobilebert_tiny(**_STUDENT),
    "without_opt": config_lib.mobilebert_without_opt(**_STUDENT),
    "teacher": config_lib.ib_bert_large(**SIZES, intra_bottleneck_size=32),
    "separate_attention": config_lib.mobilebert(
        **_STUDENT, key_query_shared_bottleneck=False, hidden_act="relu6"
    ),
    "no_bottleneck": config_lib.MobileBertConfig(
        **_PLAIN, normalization_type="no_norm"
    ),
    "plain_bert": config_lib.MobileBertConfig(
        **{**_PLAIN, "embedding_size": None}
    ),
}


def randomize(layer, seed: int = 0) -> None:
    """Fills all weights; gammas, betas and biases too, trivial when fresh.

    Kernels keep activations and attention scores of order 1, so that a
    saturated softmax neither hides differences nor amplifies rounding.
    """
    generator = np.random.default_rng(seed)
    for variable in layer.weights:
        name = variable.name.split("/")[-1]
        shape = variable.shape
        if name.startswith("gamma"):
            values = generator.uniform(0.5, 1.5, shape)
        elif name.startswith(("beta", "bias", "output_bias")):
            values = generator.normal(0.0, 0.3, shape)
        elif name.startswith("kernel"):
            values = generator.normal(0.0, 1.0 / np.sqrt(shape[0]), shape)
        else:
            values = generator.normal(0.0, 0.5, shape)
        variable.assign(values.astype(np.float32))


def make_inputs(
    config, count: int = 4, length: int = 10, seed: int = 0
) -> dict[str, np.ndarray]:
    """Returns int32 inputs [count, length] of pairs; only the first unpadded.

    Padding has random ids, not 0: what they contribute must show.
    """
    generator = np.random.default_rng(seed)
    lengths = generator.integers(length // 2, length, count)[:, np.newaxis]
    lengths[0] = length
    positions = np.arange(length)[np.newaxis]
    mask = positions < lengths
    types = (positions >= lengths // 2) & mask
    return {
        "input_word_ids": generator.integers(
            0, config.vocab_size, [count, length]
        ).astype(np.int32),
        "input_mask": mask.astype(np.int32),
        "input_type_ids": types.astype(np.int32),
    }


def assert_close(actual, expected, tolerance: float = 1e-4) -> None:
    """Asserts that the largest error is small beside the largest value."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    error = np.max(np.abs(actual - expected)) / np.max(np.abs(expected))
    assert error <= tolerance
