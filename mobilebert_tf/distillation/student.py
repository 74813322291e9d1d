"""The student: what it takes over from the teacher, what of it learns."""

import tensorflow as tf

from mobilebert_tf.distillation import schedule
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models


def check_compatible(
    teacher: config_lib.MobileBertConfig, student: config_lib.MobileBertConfig
) -> None:
    """Checks that feature maps, attention maps and logits can be compared.

    The number of blocks is the layer mapping's to check.

    Raises:
        ValueError: naming the first field that differs.
    """
    for field in (
        "vocab_size",
        "hidden_size",
        "num_attention_heads",
        "embedding_size",
        "trigram_input",
        "type_vocab_size",
        "max_position_embeddings",
    ):
        ours, theirs = getattr(student, field), getattr(teacher, field)
        if ours != theirs:
            raise ValueError(
                f"teacher and student must have the same {field}: "
                f"teacher {theirs}, student {ours}"
            )


def initialize_from_teacher(
    student: models.MobileBertForPreTraining,
    teacher: models.MobileBertForPreTraining,
) -> None:
    """Copies the parts that both have in the same shape.

    These are the word, type and position tables, the embedding projection and
    the two pre-training heads. The norm of the embeddings is not copied: the
    student's NoNorm is another function than the teacher's LayerNorm.
    """
    source, target = teacher.encoder.embeddings, student.encoder.embeddings
    target.word_table.assign(source.word_table)
    target.type_table.assign(source.type_table)
    target.position_table.assign(source.position_table)
    if target.needs_projection:
        target.projection.set_weights(source.projection.get_weights())
    student.masked_lm.set_weights(teacher.masked_lm.get_weights())
    student.next_sentence.set_weights(teacher.next_sentence.get_weights())


def trainable_variables(
    student: models.MobileBertForPreTraining, stage: schedule.Stage
) -> list[tuple[tf.Variable, float]]:
    """Returns what a stage updates, with the factors on the learning rate."""
    if stage.block_rates is None:
        return [(variable, 1.0) for variable in student.trainable_variables]
    parts = [
        (student.encoder.embeddings, stage.embeddings_rate),
        *zip(student.encoder.blocks, stage.block_rates, strict=True),
    ]
    return [
        (variable, rate)
        for part, rate in parts
        if rate
        for variable in part.trainable_variables
    ]


def num_frozen_blocks(stage: schedule.Stage) -> int | None:
    """Returns below how many blocks a stage's gradients need not go.

    None if the embeddings learn too; 0 if they alone are frozen.
    """
    if stage.block_rates is None or stage.embeddings_rate:
        return None
    return next(i for i, rate in enumerate(stage.block_rates) if rate)
