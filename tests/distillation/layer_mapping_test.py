"""Which block of the teacher each block of the student learns from."""

import pytest

from mobilebert_tf.distillation import layer_mapping


@pytest.mark.parametrize(
    "mapping, layers, student, teacher, expected",
    [
        ("one_to_one", [], 3, 3, (0, 1, 2)),
        ("every_k", [], 3, 3, (0, 1, 2)),
        # The last of each group: (i + 1) k - 1.
        ("every_k", [], 3, 6, (1, 3, 5)),
        ("every_k", [], 6, 24, (3, 7, 11, 15, 19, 23)),
        ("explicit", [5, 0, 0], 3, 6, (5, 0, 0)),
        # More blocks in the student than in the teacher.
        ("explicit", [0, 0, 1], 3, 2, (0, 0, 1)),
    ],
)
def test_mappings(mapping, layers, student, teacher, expected):
    assert (
        layer_mapping.teacher_blocks(mapping, layers, student, teacher)
        == expected
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ("one_to_one", [], 3, 6),
            "layer_mapping=one_to_one: expected a teacher of 3 blocks "
            "(num_hidden_layers), as the student, got 6",
        ),
        (
            ("every_k", [], 3, 7),
            "layer_mapping=every_k: expected a teacher whose blocks are a "
            "multiple of the student's 3, got 7",
        ),
        (
            ("explicit", [0, 1], 3, 6),
            "teacher_layers: expected 3 blocks, one for each of the "
            "student's, got [0, 1]",
        ),
        (
            ("explicit", [0, 1, 6], 3, 6),
            "teacher_layers: expected blocks from 0 to 5, got [0, 1, 6]",
        ),
        (
            ("explicit", [0, 1, -1], 3, 6),
            "teacher_layers: expected blocks from 0 to 5, got [0, 1, -1]",
        ),
        (
            ("explicit", [0, 1, 2.5], 3, 6),
            "teacher_layers: expected blocks from 0 to 5, got [0, 1, 2.5]",
        ),
        (
            ("middle", [], 3, 6),
            "layer_mapping: expected one_to_one, every_k or explicit, got "
            "'middle'",
        ),
    ],
)
def test_networks_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError) as info:
        layer_mapping.teacher_blocks(*arguments)
    assert str(info.value) == f"task.knowledge_transfer.{message}"
