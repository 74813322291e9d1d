"""The benchmark of pre-training distillation, on a tiny pair."""

import numpy as np
import pytest
import small_networks

from benchmarks import pretraining_distillation as benchmark


@pytest.fixture(scope="module", name="networks")
def _networks():
    return benchmark.Networks(
        *(small_networks.CONFIGS[name] for name in ("mobilebert", "teacher"))
    )


@pytest.fixture(scope="module", name="inputs")
def _inputs(networks):
    return benchmark.make_inputs(networks.config.vocab_size, 3, 10, 4)


@pytest.mark.slow
def test_all_forms_have_one_loss_and_one_gradient(networks, inputs):
    figures = benchmark.measure_steps(networks, inputs, rounds=2)
    straightforward, in_floats, in_integers = figures.values()
    assert straightforward["gain"] == 1.0
    assert in_floats["loss_error"] < 1e-4
    assert in_floats["gradient_error"] < 1e-4
    assert straightforward["gradient_error"] == 0.0
    assert 0 < in_integers["loss_error"] < 0.01
    for each in figures.values():
        assert 0 < each["min_secs"] <= each["median_secs"]


@pytest.mark.slow
def test_each_measure_is_timed(networks, inputs):
    figures = benchmark.measure_measures(networks, inputs, rounds=1)
    assert figures["none"]["gain"] == 1.0
    assert len(figures) == 8


def test_entropy():
    uniform = np.zeros([1, 2, 8], np.float32)
    assert benchmark.mean_entropy(uniform) == pytest.approx(np.log(8))


def test_missed_bars():
    good = {"gain": 2.0, "loss_error": 1e-6, "gradient_error": 1e-6}
    names = "straightforward", "task, float32", "task, int8 teacher"
    steps = {name: dict(good) for name in names}
    report = {
        "steps": steps,
        "peak_bytes": dict(zip(names, (9, 8, 9), strict=True)),
    }
    assert not benchmark.missed_bars(report)
    steps[names[1]]["gain"] = 1.1
    steps[names[2]]["loss_error"] = 0.02
    report["peak_bytes"][names[1]] = 10
    assert benchmark.missed_bars(report) == [
        "task, float32: gain: expected at least 1.2, got 1.1",
        "task, int8 teacher: loss: expected at most 0.01, got 0.02",
        "task, float32: memory: expected at most 9, got 10",
    ]
