"""The benchmark of transfer stages, on a tiny pair."""

import dataclasses

import pytest
import small_networks

from benchmarks import transfer_stages
from mobilebert_tf.modeling import models


@pytest.mark.slow
def test_steps_of_both_stages_run_by_turns():
    student, teacher_config = (
        dataclasses.replace(
            small_networks.CONFIGS[name],
            max_position_embeddings=12,
            num_hidden_layers=2,
        )
        for name in ("mobilebert", "teacher")
    )
    teacher = models.MobileBertForPreTraining(teacher_config)
    teacher.build_weights()
    inputs = transfer_stages.make_inputs(student.vocab_size, 2, 10, 3)
    steps = transfer_stages.make_steps(
        student, teacher, (1, 2), {"lower_blocks_rate": 0.3}
    )
    losses = [steps[2](inputs) for _ in range(3)]
    assert losses[2] < losses[0]
    secs = transfer_stages.measure(steps, inputs, rounds=2)
    assert {number: len(values) for number, values in secs.items()} == {
        1: 2,
        2: 2,
    }
