"""Updates of micro-batches and replicas, against NumPy; NaN kept out."""

import math
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import small_networks
import tensorflow as tf
import tf_keras

from mobilebert_tf.distillation import schedule
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import pretraining
from tests.tasks import regression_task


def _step(task, model, inputs, metrics=None, optimizer=None):
    """Returns the loss of one compiled update."""
    optimizer = optimizer or tf_keras.optimizers.legacy.SGD(1.0)

    @tf.function
    def step(inputs):
        return task.train_step(inputs, model, optimizer, metrics)

    return float(step(inputs)[task.loss])


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_the_update_is_that_of_the_whole_batch(count):
    inputs = regression_task.make_inputs()
    loss, kernel, bias = regression_task.expected_update(inputs)
    task = regression_task.RegressionTask(count)
    model = regression_task.make_model()
    before = model.get_weights()
    assert _step(task, model, inputs) == pytest.approx(loss, rel=1e-5)
    after = model.get_weights()
    np.testing.assert_allclose(
        (before[0] - after[0])[:, 0], kernel, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(before[1] - after[1], [bias], rtol=1e-5)


def test_metrics_are_means_over_the_whole_batch():
    inputs = regression_task.make_inputs()
    results = []
    for count in (1, 4):
        task = regression_task.RegressionTask(count)
        metrics = task.build_metrics()
        _step(task, regression_task.make_model(), inputs, metrics)
        results.append([float(metric.result()) for metric in metrics])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5)


def _pretraining_inputs(config):
    """Eight sequences with 3, 0, 0, 0, 4, 4, 1 and 0 predictions."""
    generator = np.random.default_rng(1)
    counts = np.array([3, 0, 0, 0, 4, 4, 1, 0])[:, np.newaxis]
    inputs = small_networks.make_inputs(config, count=8)
    inputs["masked_lm_positions"] = generator.integers(1, 5, [8, 4], np.int32)
    inputs["masked_lm_ids"] = generator.integers(5, 40, [8, 4], np.int32)
    inputs["masked_lm_weights"] = (np.arange(4) < counts).astype(np.float32)
    inputs["next_sentence_labels"] = generator.integers(0, 2, [8, 1], np.int32)
    return inputs


@pytest.mark.parametrize(
    "stage",
    [
        schedule.Stage("pretraining", 0, 1, blocks=(0, 1)),
        schedule.Stage(
            "transfer_1",
            0,
            1,
            pretraining=False,
            blocks=(1,),
            block_rates=(0.0, 1.0),
        ),
    ],
    ids=lambda stage: stage.name,
)
def test_an_accumulated_stage_is_the_whole_batch(stage):
    """Of 1 and 4 parts; the second has no prediction."""
    config = small_networks.CONFIGS["mobilebert"]
    teacher = models.MobileBertForPreTraining(small_networks.CONFIGS["teacher"])
    teacher.build_weights()
    small_networks.randomize(teacher, seed=1)
    inputs = _pretraining_inputs(config)
    changes = []
    for count in (1, 4):
        params = pretraining_config.PretrainingTaskConfig(
            gradient_accumulation_steps=count
        )
        task = pretraining.PretrainingTask(
            params, config, stage, teacher, teacher_blocks=(0, 1)
        )
        model = task.build_model()
        small_networks.randomize(model)
        before = model.get_weights()
        loss, _ = task.compute_loss(inputs, model, training=True)
        optimizer = tf_keras.optimizers.legacy.SGD(1.0)
        logs = task.train_step(inputs, model, optimizer)
        assert float(logs[task.loss]) == pytest.approx(float(loss), rel=1e-5)
        changes.append(
            [b - a for b, a in zip(before, model.get_weights(), strict=True)]
        )
    norms = [math.sqrt(sum(np.sum(c**2) for c in each)) for each in changes]
    assert norms[0] > 0
    difference = [one - other for one, other in zip(*changes, strict=True)]
    norm = math.sqrt(sum(np.sum(c**2) for c in difference))
    assert norm < 1e-5 * norms[0]


@pytest.mark.parametrize(
    "poisoned, value, reason",
    [
        ("y", np.nan, "loss term error is nan"),
        ("x", np.inf, "loss term error is (inf|nan)"),
        # The error still is finite; the square of its gradient is not.
        ("x", 1e15, "gradient of .*kernel:0 is inf"),
    ],
)
@pytest.mark.parametrize("count", [1, 4])
def test_a_poisoned_step_and_those_after_it_change_nothing(
    poisoned, value, reason, count
):
    task = regression_task.RegressionTask(count)
    model = regression_task.make_model()
    optimizer = tf_keras.optimizers.legacy.Adam(0.1)
    batches = [regression_task.make_inputs(seed) for seed in range(6)]
    batches[3][poisoned][4, 0] = value
    dataset = tf.data.Dataset.from_generator(
        lambda: batches,
        output_signature={
            name: tf.TensorSpec(values.shape, values.dtype)
            for name, values in batches[0].items()
        },
    )

    @tf.function
    def loop(iterator, num_steps):
        for _ in tf.range(num_steps):
            task.train_step(next(iterator), model, optimizer)

    iterator = iter(dataset)
    loop(iterator, 3)
    good = model.get_weights()
    assert task.guard.num_refused == 0
    loop(iterator, 3)
    for one, other in zip(model.get_weights(), good, strict=True):
        np.testing.assert_array_equal(one, other)
    assert task.guard.num_refused == 3
    assert int(optimizer.iterations) == 3
    assert re.fullmatch(reason, task.guard.reason)


def test_two_replicas_update_like_one():
    """In a process of its own: devices are made once per process."""
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2")
    process = subprocess.run(
        [sys.executable, "-m", "tests.tasks.two_replicas"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-3000:]
