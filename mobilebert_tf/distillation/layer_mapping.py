"""Which block of the teacher each block of the student learns from."""

from collections.abc import Sequence


def teacher_blocks(
    layer_mapping: str,
    teacher_layers: Sequence[int],
    num_student_blocks: int,
    num_teacher_blocks: int,
    key: str = "task.knowledge_transfer",
) -> tuple[int, ...]:
    """Returns the teacher's block (0-based) for each block of the student.

    Args:
        layer_mapping: "one_to_one"; "every_k": with k times the blocks in the
            teacher, student block i learns from teacher block (i + 1) k - 1;
            or "explicit".
        teacher_layers: with "explicit", the blocks themselves.
        num_student_blocks: int.
        num_teacher_blocks: int.
        key: of the configuration that has the first two, for messages.

    Raises:
        ValueError: if the networks do not fit the mapping.
    """
    student, teacher = num_student_blocks, num_teacher_blocks
    if layer_mapping == "one_to_one":
        if student != teacher:
            raise ValueError(
                f"{key}.layer_mapping=one_to_one: expected a teacher of "
                f"{student} blocks (num_hidden_layers), as the student, "
                f"got {teacher}"
            )
        return tuple(range(student))
    if layer_mapping == "every_k":
        if teacher % student:
            raise ValueError(
                f"{key}.layer_mapping=every_k: expected a teacher whose "
                f"blocks are a multiple of the student's {student}, "
                f"got {teacher}"
            )
        k = teacher // student
        return tuple(range(k - 1, teacher, k))
    if layer_mapping == "explicit":
        if len(teacher_layers) != student:
            raise ValueError(
                f"{key}.teacher_layers: expected {student} blocks, one for "
                f"each of the student's, got {list(teacher_layers)}"
            )
        for block in teacher_layers:
            if type(block) is not int or not 0 <= block < teacher:
                raise ValueError(
                    f"{key}.teacher_layers: expected blocks from 0 to "
                    f"{teacher - 1}, got {list(teacher_layers)}"
                )
        return tuple(teacher_layers)
    raise ValueError(
        f"{key}.layer_mapping: expected one_to_one, every_k or explicit, "
        f"got {layer_mapping!r}"
    )
