"""results.jsonl: appended line by line, read with its last line cut off."""

import json
import os
from types import TracebackType

from android_benchmark import results


class ResultFile:
    """Appends results to a file; a context manager.

    Each line is written at once and flushed: Ctrl-C keeps what is done.
    """

    def __init__(self, path: str, append: bool):
        """Opens the file.

        Args:
            path: of the file; its folder is made.
            append: whether what is there stays; a last line that was cut off
                is ended, so that it does not spoil the next one.

        Raises:
            OSError: if it cannot be written.
        """
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        cut_off = append and _is_cut_off(path)
        self._stream = open(path, "ab" if append else "wb")
        if cut_off:
            self._stream.write(b"\n")

    def __enter__(self) -> "ResultFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def write(self, result: results.Result) -> None:
        """Appends a line."""
        self._stream.write(result.to_json().encode() + b"\n")
        self._stream.flush()


def read(path: str) -> list[results.Result]:
    """Returns the results of a file, in its order.

    Lines that were cut off, by a crash or a full disk, are left out: one of
    them is no JSON object, and no line after it is touched by it.

    Raises:
        ValueError: if a whole line is no result; with file and row.
        OSError: if the file cannot be read.
    """
    found = []
    with open(path, "rb") as stream:
        for row, line in enumerate(stream, start=1):
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            try:
                if not isinstance(fields, dict):
                    raise ValueError("expected a JSON object")
                found.append(results.from_dict(fields))
            except ValueError as error:
                raise ValueError(f"{path}:{row}: {error}") from error
    return found


def _is_cut_off(path):
    if not os.path.exists(path) or not os.path.getsize(path):
        return False
    with open(path, "rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) != b"\n"
