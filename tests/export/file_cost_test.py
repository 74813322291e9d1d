"""Latency and memory of small files, measured in processes of their own."""

import os

import numpy as np
import tensorflow as tf

from export import file_cost

_WIDTH = 1600
_KERNEL_BYTES = 4 * _WIDTH * _WIDTH  # 10 MB


def _write(path, products, length=4):
    """Writes a file of so many products with a constant matrix each."""
    generator = np.random.default_rng(0)
    kernels = [
        generator.normal(size=(_WIDTH, _WIDTH)).astype(np.float32)
        for _ in range(products)
    ]

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([length, _WIDTH], tf.float32)])
    def serve(x):
        for kernel in kernels:
            x = tf.nn.relu(tf.matmul(x, kernel))
        return {"y": x}

    module.serve = serve
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], module
    )
    path.write_bytes(converter.convert())
    return str(path)


def test_costs_of_two_files(tmp_path):
    small = _write(tmp_path / "small.tflite", 1)
    large = _write(tmp_path / "large.tflite", 4)
    costs = file_cost.measure([small, large], 99, seconds=0.2, rounds=2)
    assert list(costs) == [small, large]
    cores = len(os.sched_getaffinity(0))
    for path, products in ((small, 1), (large, 4)):
        cost = costs[path]
        assert cost.num_threads == min(99, cores)
        assert cost.num_runs >= 6
        assert 0 < cost.min_ms <= cost.median_ms
        assert cost.load_ms > 0
        # XNNPACK packs the weights of the mapped file once more.
        added = cost.peak_memory_bytes / (products * _KERNEL_BYTES)
        assert 0.9 < added < 3
    assert costs[large].min_ms > costs[small].min_ms


def test_file_that_cannot_be_measured_leaves_the_others(tmp_path):
    dynamic = _write(tmp_path / "dynamic.tflite", 1, length=None)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"not a model")
    static = _write(tmp_path / "static.tflite", 1)
    costs = file_cost.measure(
        [dynamic, str(damaged), static], 1, seconds=0.1, rounds=1
    )
    assert "dynamic shape" in costs[dynamic]
    assert "expected a .tflite model" in costs[str(damaged)]
    assert costs[static].num_runs >= 3


def test_nothing_to_measure():
    assert file_cost.measure([]) == {}


def test_machine_that_cannot_measure(tmp_path, monkeypatch):
    path = _write(tmp_path / "model.tflite", 1)
    monkeypatch.delattr(os, "sched_setaffinity")
    assert "needs Linux" in file_cost.measure([path])[path]
