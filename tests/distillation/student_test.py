"""What a student takes over from its teacher, and when it may."""

import dataclasses

import numpy as np
import pytest

from mobilebert_tf.distillation import schedule
from mobilebert_tf.distillation import student as student_lib
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models

_SIZES = dict(
    vocab_size=30,
    hidden_size=16,
    embedding_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=10,
)
_TEACHER = config_lib.ib_bert_large(**_SIZES, intra_bottleneck_size=32)
_STUDENT = config_lib.mobilebert(**_SIZES, intra_bottleneck_size=8)

# Below the model's own name.
_COPIED = {
    "bert/embeddings/word_embeddings:0",
    "bert/embeddings/token_type_embeddings:0",
    "bert/embeddings/position_embeddings:0",
    "bert/embeddings/embedding_transformation/kernel:0",
    "bert/embeddings/embedding_transformation/bias:0",
    "cls_predictions/transform/kernel:0",
    "cls_predictions/transform/bias:0",
    "cls_predictions/LayerNorm/gamma:0",
    "cls_predictions/LayerNorm/beta:0",
    "cls_predictions/extra_output_weights:0",
    "cls_predictions/output_bias:0",
    "cls_seq_relationship/logits/kernel:0",
    "cls_seq_relationship/logits/bias:0",
}


def _make(config, seed):
    model = models.MobileBertForPreTraining(config)
    model.build_weights()
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(generator.normal(size=weight.shape))
    return model


def _values(model):
    return {
        weight.name.split("/", 1)[1]: weight.numpy() for weight in model.weights
    }


@pytest.mark.parametrize("projected", [True, False])
def test_copies_exactly_the_common_parts(projected):
    changes = {}
    copied = _COPIED
    if not projected:
        changes = dict(trigram_input=False, embedding_size=16)
        copied = {
            name
            for name in _COPIED
            if "transformation" not in name and "extra_output" not in name
        }
    teacher = _make(dataclasses.replace(_TEACHER, **changes), seed=1)
    student = _make(dataclasses.replace(_STUDENT, **changes), seed=2)
    source, before = _values(teacher), _values(student)
    student_lib.initialize_from_teacher(student, teacher)

    after = _values(student)
    changed = {
        name for name, value in after.items() if (value != before[name]).any()
    }
    assert changed == copied
    for name in copied:
        np.testing.assert_array_equal(after[name], source[name], err_msg=name)
    for name, value in _values(teacher).items():
        np.testing.assert_array_equal(value, source[name], err_msg=name)


def test_copies_are_independent():
    teacher, student = _make(_TEACHER, seed=1), _make(_STUDENT, seed=2)
    student_lib.initialize_from_teacher(student, teacher)
    table = student.encoder.embeddings.word_table
    table.assign_add(np.ones(table.shape))
    difference = table - teacher.encoder.embeddings.word_table
    np.testing.assert_allclose(difference, 1.0, rtol=1e-5)


def test_published_pairs_are_compatible():
    """Neither raises nor needs equal widths inside the blocks."""
    for student, teacher in (
        (_STUDENT, _TEACHER),
        (config_lib.mobilebert(), config_lib.ib_bert_large()),
        (config_lib.mobilebert_tiny(), config_lib.ib_bert_large()),
        (config_lib.micro(), config_lib.micro_teacher()),
        (config_lib.mini(), config_lib.mini_teacher()),
    ):
        assert student.block_size != teacher.block_size
        assert student_lib.check_compatible(teacher, student) is None


def test_blocks_are_left_to_the_layer_mapping():
    deeper = dataclasses.replace(_TEACHER, num_hidden_layers=4)
    assert student_lib.check_compatible(deeper, _STUDENT) is None


def _stage(block_rates, embeddings_rate):
    return schedule.Stage(
        "transfer",
        0,
        1,
        pretraining=False,
        block_rates=block_rates,
        embeddings_rate=embeddings_rate,
    )


@pytest.mark.parametrize(
    "block_rates, embeddings_rate, frozen",
    [
        ((3.0, 0.0), 0.0, 0),
        ((0.0, 3.0), 0.0, 1),
        ((0.3, 3.0), 0.0, 0),
        ((0.0, 3.0), 0.5, None),
    ],
)
def test_what_a_stage_trains(block_rates, embeddings_rate, frozen):
    student = _make(_STUDENT, seed=1)
    stage = _stage(block_rates, embeddings_rate)
    rates = {
        variable.name.split("/", 2)[2]: rate
        for variable, rate in student_lib.trainable_variables(student, stage)
    }
    expected = {"embeddings": embeddings_rate}
    expected.update({f"layer_{i}": rate for i, rate in enumerate(block_rates)})
    for part, rate in expected.items():
        found = {value for key, value in rates.items() if key.startswith(part)}
        assert found == ({rate} if rate else set()), part
    assert not [name for name in rates if name.startswith(("cls", "pooler"))]
    assert student_lib.num_frozen_blocks(stage) == frozen


def test_pretraining_trains_everything():
    student = _make(_STUDENT, seed=1)
    stage = schedule.Stage("pretraining", 0, 1)
    pairs = student_lib.trainable_variables(student, stage)
    assert [variable.name for variable, _ in pairs] == [
        variable.name for variable in student.trainable_variables
    ]
    assert {rate for _, rate in pairs} == {1.0}
    assert student_lib.num_frozen_blocks(stage) is None


@pytest.mark.parametrize(
    "field, value",
    [
        ("vocab_size", 31),
        ("hidden_size", 24),
        ("num_attention_heads", 4),
        ("embedding_size", 4),
        ("trigram_input", False),
        ("type_vocab_size", 3),
        ("max_position_embeddings", 11),
    ],
)
def test_names_the_field_that_differs(field, value):
    student = dataclasses.replace(_STUDENT, **{field: value})
    with pytest.raises(ValueError) as info:
        student_lib.check_compatible(teacher=_TEACHER, student=student)
    assert str(info.value) == (
        f"teacher and student must have the same {field}: "
        f"teacher {getattr(_TEACHER, field)}, student {value}"
    )
