"""Rewritings of the weights that leave the function as it is.

Legend: S sequence, E embedding_size, H hidden_size.
"""

import numpy as np

from export import weights as weights_lib


def fold_norm(
    dense: weights_lib.Dense, norm: weights_lib.Norm
) -> weights_lib.Dense:
    """Returns the layer that is `dense` followed by the NoNorm `norm`."""
    return dense.scaled(norm.gamma).shifted(norm.beta)


def fold_embeddings(
    weights: weights_lib.Encoder, length: int
) -> tuple[np.ndarray, weights_lib.Dense | None, np.ndarray, np.ndarray]:
    """Folds the embeddings' NoNorm into what it is applied to.

    It is linear in the sum of words, types and positions: its gamma scales all
    three, its beta joins the positions.

    Args:
        weights: of the encoder.
        length: S, at most max_position_embeddings.

    Returns:
        Word table, projection or None, type table, and the [S, H] positions.
    """
    table, projection, types, positions = keep_embeddings(weights, length)
    gamma, beta = weights.norm.gamma, weights.norm.beta
    if projection is None:
        table = table * gamma
    else:
        projection = projection.scaled(gamma)
    return table, projection, types * gamma, positions * gamma + beta


def keep_embeddings(
    weights: weights_lib.Encoder, length: int
) -> tuple[np.ndarray, weights_lib.Dense | None, np.ndarray, np.ndarray]:
    """Returns what `fold_embeddings` does, with nothing folded."""
    return (
        weights.word_table,
        weights.projection,
        weights.type_table,
        weights.position_table[:length],
    )


def trigram_kernel(projection: weights_lib.Dense) -> np.ndarray:
    """Turns the trigram projection into the kernel of a 1x3 convolution.

    Args:
        projection: kernel [3E, H], its rows for the next, the current and the
            previous token.

    Returns:
        [1, 3, E, H], from the previous token to the next.
    """
    following, current, previous = np.split(projection.kernel, 3)
    return np.stack([previous, current, following])[np.newaxis]
