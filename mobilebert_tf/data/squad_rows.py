"""Windows of SQuAD as rows that batches are gathered from.

Legend: N windows.
"""

import numpy as np

from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.data import squad_features

POSITIONS = ("start_positions", "end_positions")

_FOR_INPUTS = ("input_word_ids", "context_start", "context_length")


class WindowRows(rows_lib.Rows):
    """Windows, as a rule mapped from the file of a cache.

    Args:
        features: of N windows, see squad_features.
        with_positions: bool. With the targets, of features made for training:
            POSITIONS, int32 [N] each.
    """

    def __init__(
        self, features: squad_features.Features, with_positions: bool = False
    ):
        self._features = features
        self._targets = POSITIONS if with_positions else ()

    def __len__(self) -> int:
        return len(self._features["input_word_ids"])

    def inputs(self, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        windows = {name: self._features[name][rows] for name in _FOR_INPUTS}
        return {
            **squad_features.model_inputs(windows),
            **{
                name: np.asarray(self._features[name][rows])
                for name in self._targets
            },
        }
