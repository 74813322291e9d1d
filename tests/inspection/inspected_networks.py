"""Small networks of every structure, and texts for them."""

import numpy as np
import small_networks

from mobilebert_tf.modeling import config as config_lib

_SIZES = small_networks.SIZES
_STUDENT = dict(_SIZES, intra_bottleneck_size=12)

CONFIGS = {
    "mobilebert": config_lib.mobilebert(**_STUDENT),
    "tiny": config_lib.mobilebert_tiny(**_STUDENT),
    "without_opt": config_lib.mobilebert_without_opt(**_STUDENT),
    "teacher": config_lib.ib_bert_large(**_SIZES, intra_bottleneck_size=32),
    "separate_attention": config_lib.mobilebert(
        **_STUDENT, key_query_shared_bottleneck=False
    ),
    "both_flags": config_lib.mobilebert(
        **_STUDENT, use_bottleneck_attention=True
    ),
    "no_bottleneck": config_lib.MobileBertConfig(
        **_SIZES, num_feedforward_networks=2, normalization_type="no_norm"
    ),
    "wide_trigram": config_lib.MobileBertConfig(
        **{**_SIZES, "embedding_size": None}, trigram_input=True
    ),
    "plain_bert": config_lib.MobileBertConfig(
        **{**_SIZES, "embedding_size": None}
    ),
}


def randomize(model, seed: int = 0) -> None:
    """Fills all weights with numbers that keep activations of order 1."""
    generator = np.random.default_rng(seed)
    for variable in model.trainable_weights:
        shape = variable.shape
        scale = 1.0 / np.sqrt(shape[0]) if len(shape) > 1 else 0.5
        if variable.name.split("/")[-1].startswith("gamma"):
            values = generator.uniform(0.5, 1.5, shape)
        else:
            values = generator.normal(0.0, scale, shape)
        variable.assign(values.astype(np.float32))


def make_features(
    config, count: int = 11, length: int = 10, seed: int = 0
) -> dict[str, np.ndarray]:
    """Returns int32 inputs [count, length]; only the first is unpadded."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, length, [count, 1])
    lengths[0] = length
    mask = np.arange(length)[np.newaxis] < lengths
    ids = generator.integers(1, config.vocab_size, [count, length])
    return {
        "input_word_ids": np.where(mask, ids, 0).astype(np.int32),
        "input_mask": mask.astype(np.int32),
        "input_type_ids": np.zeros([count, length], np.int32),
    }
