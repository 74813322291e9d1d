"""What the full-size benchmark measures, and when it fails.

No clock here: its bars are for a machine at rest.
"""

import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import full_size
from benchmarks import full_size_steps


def test_measures_the_child_alone():
    command = [sys.executable, "-c", "b'x' * 300_000_000"]
    figures = full_size.measure(command)
    assert 300_000_000 < figures["peak_bytes"]
    assert figures["secs"] > 0


def test_a_failing_step_is_named_with_its_last_line():
    command = [sys.executable, "-c", "print('a'); raise SystemExit('b c')"]
    with pytest.raises(ValueError, match="raise SystemExit.*: b c$"):
        full_size.measure(command)


def test_missed_bars():
    good = {"secs": 20.0, "peak_bytes": 1.9e9}
    assert not full_size.missed_bars({"a": good, "b": good})
    assert full_size.missed_bars({"a": good, "b": good, "c": good}) == [
        "all steps: expected less than 60 s, got 60.0 s"
    ]
    large = {"secs": 1.0, "peak_bytes": 2.5e9}
    assert full_size.missed_bars({"a": good, "b": large}) == [
        "b: expected less than 2.00 GB, got 2.50 GB"
    ]


def test_each_conversion_reads_what_the_last_one_wrote():
    steps = [command for _, command in full_size.commands("folder")]
    flags = [
        dict(flag.lstrip("-").split("=") for flag in command if "=" in flag)
        for command in steps
        if "mobilebert_tf.convert_checkpoint" in command
    ]
    assert [flag["from"] for flag in flags] == [
        "tf1",
        "mobilebert_tf",
        "huggingface",
        "garden",
    ]
    for before, after in zip(flags, flags[1:], strict=False):
        assert before["to"] == after["from"]
        assert before["output"] == after["input"]
    assert f"--folder={flags[0]['input']}" in steps[0]
    assert f"--other={flags[-1]['output']}" in steps[-1]


def _save(folder, values):
    folder.mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt"),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=list(values.values()),
    )
    return str(folder)


def test_comparison_sees_one_bit_and_a_missing_variable(tmp_path):
    value = np.arange(4, dtype=np.float32)
    other = value.copy()
    other[2] = np.nextafter(other[2], np.float32(9))
    first = _save(tmp_path / "first", {"a": value, "b": value})
    same = _save(tmp_path / "same", {"b": value, "a": value})
    changed = _save(tmp_path / "changed", {"a": value, "b": other})
    shorter = _save(tmp_path / "shorter", {"a": value})
    full_size_steps.compare(first, same)
    for folder in (changed, shorter):
        with pytest.raises(ValueError, match="^b: expected"):
            full_size_steps.compare(first, folder)
