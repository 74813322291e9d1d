"""The fine-tuned teacher of a run, checked against its student."""

import os

from absl import logging

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import wordpiece
from mobilebert_tf.data import glue
from mobilebert_tf.distillation import task_distillation
from mobilebert_tf.experiments import task_distillation_config
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.modeling import config as config_lib


def load(
    config: task_distillation_config.TaskDistillationConfig,
    info: model_directory.ModelInfo,
    network: config_lib.MobileBertConfig,
    vocab_file: str,
) -> task_distillation.TaskDistillation | None:
    """Loads the best model of the teacher's folder, else its newest.

    Args:
        config: of the run, checked.
        info: how the student is used.
        network: of the student.
        vocab_file: the student's vocabulary.

    Returns:
        What the teacher adds to the loss; None without a teacher.

    Raises:
        ValueError: if the folder holds no model, or one for another task,
            labels, vocabulary or length.
    """
    if not config.teacher_dir:
        return None
    files.require_directory(config.teacher_dir, "teacher_dir")
    folder = model_selection.best_or_newest(config.teacher_dir)
    _check_info(folder, model_directory.read_info(folder), info)
    theirs = os.path.join(folder, model_directory.VOCAB_FILE)
    files.require_file(theirs, "vocab_file")
    contents = map(files.read_bytes, (theirs, vocab_file))
    if not wordpiece.same_vocabulary(*contents):
        raise ValueError(
            f"{theirs} and {vocab_file} differ: teacher and student must read "
            "the same tokens"
        )
    trained = model_directory.load(folder)
    trained.config.check_sequence_length(
        info.max_seq_length, f"{folder}: task.max_seq_length"
    )
    logging.info("teacher: %s", trained.checkpoint)
    return task_distillation.TaskDistillation(
        config,
        trained.model,
        network,
        is_regression=_is_regression(info),
    )


def _is_regression(info):
    is_classifier = info.head == model_directory.SEQUENCE_CLASSIFICATION
    return is_classifier and glue.is_regression(info.labels)


def _check_info(folder, teacher, student):
    if teacher.head != student.head:
        raise ValueError(
            f"{folder}: expected a teacher with head {student.head}, as the "
            f"student, got {teacher.head}"
        )
    # The labels of many tasks are 0 and 1.
    names = teacher.task_name, student.task_name
    if all(names) and names[0] != names[1]:
        raise ValueError(
            f"{folder}: expected a teacher of {student.task_name}, as the "
            f"student, got one of {teacher.task_name}"
        )
    if teacher.labels != student.labels:
        raise ValueError(
            f"{folder}: teacher and student must have the same labels in the "
            f"same order: teacher {', '.join(teacher.labels)}, student "
            f"{', '.join(student.labels)}"
        )
    if teacher.lower_case != student.lower_case:
        raise ValueError(
            f"{folder}: teacher and student must read the same tokens: "
            f"lower_case is {teacher.lower_case} of the teacher, "
            f"{student.lower_case} of the student"
        )
