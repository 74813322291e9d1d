"""Rates per variable and the course of the rate within a stage."""

import numpy as np
import pytest
import tensorflow as tf
from official.modeling import optimization

from mobilebert_tf.distillation import schedule
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.optimization import optimizers

_MAKERS = {
    "lamb": optimization_config.lamb,
    "adamw": optimization_config.adamw,
}


def _stage(*block_rates, **fields):
    return schedule.Stage(
        "transfer",
        0,
        100,
        pretraining=False,
        block_rates=block_rates,
        **fields,
    )


def _config(kind="lamb", rate=0.1):
    config = _MAKERS[kind](rate, rate, warmup_steps=0)
    return optimization_config.complete(config, num_steps=100)


def _variables():
    generator = np.random.default_rng(0)
    return [
        tf.Variable(generator.normal(size=[4, 3]), dtype=tf.float32, name=name)
        for name in ("layer_0/kernel", "layer_1/kernel", "table")
    ]


def _gradients(step):
    generator = np.random.default_rng(step + 1)
    gradients = [
        tf.constant(0.01 * generator.normal(size=[4, 3]), tf.float32)
        for _ in range(3)
    ]
    # What tf.gather leaves to the optimizer.
    gradients[2] = tf.IndexedSlices(
        gradients[2][:2], tf.constant([1, 3]), tf.constant([4, 3])
    )
    return gradients


def _train(optimizer, rates=(), num_steps=1):
    variables = _variables()
    optimizers.set_rates(optimizer, list(zip(variables, rates, strict=False)))
    for step in range(num_steps):
        optimizer.apply_gradients(zip(_gradients(step), variables, strict=True))
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("kind", _MAKERS)
def test_plain_rates_are_the_gardens_optimizer(kind):
    config = _config(kind)
    factory = optimization.OptimizerFactory(config)
    garden = factory.build_optimizer(factory.build_learning_rate())
    expected = _train(garden, num_steps=4)
    plain = optimizers.build(config, _stage(1.0, 0.0))
    rated = optimizers.build(config, _stage(0.3, 3.0))
    assert all(isinstance(each, type(garden)) for each in (plain, rated))
    for actual in (
        _train(plain, num_steps=4),
        _train(rated, (1.0, 1.0, 1.0), num_steps=4),
    ):
        for one, other in zip(actual, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", _MAKERS)
def test_rate_scales_the_update(kind):
    """One step: the update, weight decay included, has the rate as factor."""
    config = _config(kind)
    start = [variable.numpy() for variable in _variables()]
    plain = _train(optimizers.build(config, _stage(1.0)))
    rates = (0.3, 3.0, 0.5)
    rated = _train(optimizers.build(config, _stage(*rates)), rates)
    for before, one, other, rate in zip(
        start, plain, rated, rates, strict=True
    ):
        assert np.abs(one - before).max() > 1e-3
        np.testing.assert_allclose(
            other - before, rate * (one - before), rtol=1e-3, atol=1e-6
        )


def test_rates_do_not_touch_the_moments():
    config = _config()
    rated = optimizers.build(config, _stage(0.3, 3.0))
    variable = tf.Variable(tf.ones([2, 2]), name="layer_0/kernel")
    optimizers.set_rates(rated, [(variable, 0.3)])
    rated.apply_gradients([(0.01 * tf.ones([2, 2]), variable)])
    # (1 - beta_1) g.
    np.testing.assert_allclose(rated.get_slot(variable, "m"), 0.001, rtol=1e-4)


def test_replicas_share_the_name():
    for name in ("block/kernel:0", "block/kernel/replica_1:0"):

        class Named:
            pass

        Named.name = name
        assert optimizers.variable_name(Named) == "block/kernel"


@pytest.mark.parametrize(
    "step, expected",
    [
        (0, 0.0),
        (5, 0.5),
        # From here the second form is the smaller one.
        (10, 0.9 + 0.1 * np.sqrt(0.9)),
        (50, 0.9 + 0.1 * np.sqrt(0.5)),
        (100, 0.9),
    ],
)
def test_official_phase_factor(step, expected):
    """Reference section 4.1, P = 100."""
    factor = optimizers.phase_factor(tf.constant(float(step)), 100)
    assert float(factor) == pytest.approx(expected, rel=1e-4)


def test_phases_of_a_shared_optimizer():
    """The optimizer's count goes on, the course of the rate starts anew."""
    config = _config(rate=2.0)
    stage = _stage(3.0, phase_schedule="official", optimizer_offset=100)
    schedule_of = optimizers.build(config, stage).learning_rate
    assert float(schedule_of(100)) == 0.0
    assert float(schedule_of(105)) == pytest.approx(1.0)
    assert float(schedule_of(200)) == pytest.approx(1.8)


def test_decay_of_a_shared_optimizer():
    config = optimization_config.lamb(1.0, 0.0, warmup_steps=0)
    config = optimization_config.complete(config, num_steps=100)
    rate = optimizers.build(config, _stage(1.0, optimizer_offset=200))
    assert float(rate.learning_rate(225)) == pytest.approx(0.75)


def test_other_optimizers_have_no_rates():
    config = _config().replace(optimizer={"type": "sgd"})
    assert optimizers.build(config, _stage(1.0, 0.0)) is not None
    with pytest.raises(ValueError) as info:
        optimizers.build(config, _stage(0.3, 3.0))
    assert str(info.value) == (
        "optimizer.type: expected lamb or adamw with rates per block, got sgd"
    )
