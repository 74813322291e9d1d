"""Each rewriting on its own, against the definition."""

import numpy as np

from export import folding
from export import weights
from mobilebert_tf.modeling import embeddings


def _random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def test_fold_norm():
    dense = weights.Dense(_random(3, 4), _random(4))
    norm = weights.Norm(_random(4) + 1.0, _random(4) - 1.0)
    inputs = _random(5, 3)
    folded = folding.fold_norm(dense, norm)
    np.testing.assert_allclose(
        inputs @ folded.kernel + folded.bias,
        norm.gamma * (inputs @ dense.kernel + dense.bias) + norm.beta,
    )


def test_trigram_kernel():
    """The convolution's taps are previous, current, next."""
    words = _random(1, 6, 4)
    projection = weights.Dense(_random(12, 5), np.zeros(5))
    kernel = folding.trigram_kernel(projection)
    assert kernel.shape == (1, 3, 4, 5)
    padded = np.pad(words[0], [[1, 1], [0, 0]])
    taps = sum(padded[k : k + 6] @ kernel[0, k] for k in range(3))
    expected = embeddings.trigram(words).numpy()[0] @ projection.kernel
    np.testing.assert_allclose(taps, expected)
