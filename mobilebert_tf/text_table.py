"""Tables for terminals. Imports no TensorFlow: some binaries do without."""

from collections.abc import Sequence


def lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a line per row, columns aligned: the first left, others right.

    Args:
        rows: cells, of the same number in each row; the header is a row too.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(
                zip(row, widths, strict=True)
            )
        ).rstrip()
        for row in rows
    ]
