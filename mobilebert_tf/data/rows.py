"""Rows that batches are gathered from, wherever they lie.

Legend: N rows.
"""

import abc
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

# What a model is called with.
INPUT_NAMES = ("input_word_ids", "input_mask", "input_type_ids")


class Rows(abc.ABC):
    """N rows of a model's inputs, those to train on with their targets."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """Returns N."""

    @abc.abstractmethod
    def inputs(self, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        """Returns arrays [rows, ...] by name, for these rows.

        `input_word_ids`, `input_mask` and `input_type_ids`, int32, and the
        targets if there are any.
        """


class ArrayRows(Rows):
    """Rows of arrays in memory.

    Args:
        arrays: [N, ...] by name.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.arrays = dict(arrays)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def inputs(self, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        return {name: values[rows] for name, values in self.arrays.items()}


class ExtendedRows(Rows):
    """Rows with more arrays.

    Args:
        rows: N rows.
        arrays: [N, ...] by name.
    """

    def __init__(self, rows: Rows, arrays: Mapping[str, np.ndarray]):
        self._rows = rows
        self._arrays = dict(arrays)

    def __len__(self) -> int:
        return len(self._rows)

    def inputs(self, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        more = {name: values[rows] for name, values in self._arrays.items()}
        return self._rows.inputs(rows) | more


class JoinedRows(Rows):
    """The rows of several, one after the other.

    Args:
        parts: with the same names and shapes. Rows are asked of them in rising
            order.
    """

    def __init__(self, parts: Sequence[Rows]):
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self._parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def inputs(self, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        numbers = np.arange(len(self))[rows]
        gathered = []
        start = 0
        for part, end in zip(self._parts, self._ends, strict=True):
            own = numbers[(numbers >= start) & (numbers < end)] - start
            if len(own) or (not gathered and not len(numbers)):
                gathered.append(part.inputs(own))
            start = end
        return {
            name: np.concatenate([each[name] for each in gathered])
            for name in gathered[0]
        }


def input_rows(features: Mapping[str, np.ndarray]) -> ArrayRows:
    """Returns the rows of what a model is called with, without targets."""
    return ArrayRows({name: features[name] for name in INPUT_NAMES})
