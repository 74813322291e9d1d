"""Columns are aligned and lines have no trailing blanks."""

import pytest

from mobilebert_tf import text_table


def test_first_column_is_left_and_the_others_right():
    assert text_table.lines(
        [["model", "ms", "verdict"], ("a", "1234.5", ""), ("longer", "6", "ok")]
    ) == [
        "model       ms  verdict",
        "a       1234.5",
        "longer       6       ok",
    ]


def test_rows_of_other_lengths_are_an_error():
    with pytest.raises(ValueError):
        text_table.lines([["a", "b"], ["c"]])
    assert text_table.lines([]) == []
