"""Replicas and workers compute what one device does."""

import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf
from official.modeling import optimization

from mobilebert_tf import runtime
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.training import pretraining
from tests.training import conftest
from tests.training import processes

_RATE = "learning_rate.polynomial.initial_learning_rate"
# Rounding shows in proportion, not in the signs of a normalised update, and
# replicas draw other dropout masks.
_COMPARABLE = {
    "trainer.optimizer_config.optimizer.type": "sgd",
    f"trainer.optimizer_config.{_RATE}": 0.1,
    "task.model.hidden_dropout_prob": 0.0,
    "task.model.attention_probs_dropout_prob": 0.0,
}
_TRANSFER = "task.knowledge_transfer.optimizer_config"
_COMPARABLE_TRANSFER = {
    f"{_TRANSFER}.optimizer.type": "sgd",
    f"{_TRANSFER}.{_RATE}": 0.1,
}


@pytest.fixture(name="no_cluster")
def _no_cluster(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    return monkeypatch


def test_workers_become_tf_config(no_cluster):
    runtime.configure_cluster("a:1,b:2", 1)
    expected = {
        "cluster": {"worker": ["a:1", "b:2"]},
        "task": {"type": "worker", "index": 1},
    }
    assert json.loads(os.environ["TF_CONFIG"]) == expected
    runtime.configure_cluster("a:1,b:2", 1)
    runtime.configure_cluster(None, -1)
    with pytest.raises(ValueError, match="task_index=0 contradict TF_CONFIG"):
        runtime.configure_cluster("a:1,b:2", 0)
    assert json.loads(os.environ["TF_CONFIG"]) == expected


@pytest.mark.parametrize(
    "tf_config, hosts, index, message",
    [
        ("", None, -1, "expected runtime.worker_hosts"),
        ("", "a:1,b:2", -1, "task_index: expected 0 to 1 .*, got -1"),
        ("", "a:1,b:2", 2, "task_index: expected 0 to 1 .*, got 2"),
        ("{", None, -1, "TF_CONFIG: expected JSON"),
        ('{"cluster": {}}', None, -1, "TF_CONFIG: expected JSON"),
    ],
)
def test_a_wrong_cluster_is_named(no_cluster, tf_config, hosts, index, message):
    if tf_config:
        no_cluster.setenv("TF_CONFIG", tf_config)
    with pytest.raises(ValueError, match=message):
        runtime.configure_cluster(hosts, index)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"distribution_strategy": "tpu"}, "expected runtime.tpu"),
        (
            {"distribution_strategy": "tpu", "tpu": "grpc://localhost:1"},
            "runtime.tpu=grpc://localhost:1: no TPU can be used there: ",
        ),
        (
            {"distribution_strategy": "tpu", "tpu": "local"},
            "runtime.tpu=local: no TPU can be used there: ",
        ),
        ({"distribution_strategy": "parameter_server"}, "expected one of off"),
        ({"num_gpus": 99}, "runtime.num_gpus=99: TensorFlow sees"),
        (
            {"distribution_strategy": "one_device", "num_cpu_replicas": 2},
            "expected distribution_strategy=mirrored",
        ),
        (
            {"distribution_strategy": "mirrored", "num_cpu_replicas": 0},
            "expected at least 1, got 0",
        ),
        (
            {"distribution_strategy": "mirrored", "num_cpu_replicas": 64},
            "TensorFlow has started with 1",
        ),
    ],
)
def test_devices_that_are_not_there(fields, message):
    tf.constant(0) + 1  # TensorFlow has started.
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        runtime.set_up(runtime.RuntimeConfig(**fields))
    assert "\n" not in str(error.value)


def test_the_default_is_one_device():
    strategy = runtime.set_up(pretraining_config.pretraining().runtime)
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
    assert runtime.is_chief(strategy)
    with runtime.output_directory(strategy, "folder") as folder:
        assert folder == "folder"


def test_adamw_clips_as_the_gardens_own_clipping_does():
    """On one device; with replicas, that one clips before they are added."""

    def updated(**fields):
        config = optimization_config.adamw(0.1, 0.1, warmup_steps=0)
        for name, value in fields.items():
            setattr(config.optimizer.get(), name, value)
        factory = optimization.OptimizerFactory(
            optimization_config.complete(config, num_steps=10)
        )
        optimizer = factory.build_optimizer(factory.build_learning_rate())
        kernel = tf.Variable([1.0, 2.0, 3.0], name="kernel")
        bias = tf.Variable([4.0], name="bias")
        for scale in (5.0, 0.1, 2.0):
            gradients = [tf.constant([scale, 1, 2]), tf.constant([3 * scale])]
            optimizer.apply_gradients(
                zip(gradients, [kernel, bias], strict=True)
            )
        return np.concatenate([kernel, bias])

    ours = updated()
    theirs = updated(gradient_clip_norm=1.0, global_clipnorm=None)
    unclipped = updated(global_clipnorm=None)
    np.testing.assert_array_equal(ours, theirs)
    assert not np.allclose(ours, unclipped)


def _assert_same(folder, other):
    """Equal to float tolerance: sums are taken in another order."""
    got, expected = processes.losses(folder), processes.losses(other)
    assert got.keys() == expected.keys()
    for key, values in expected.items():
        assert got[key] == pytest.approx(values, rel=2e-4, abs=1e-6), key
    got, expected = processes.variables(folder), processes.variables(other)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        if "/generator/" in name:  # Of dropout, which is off.
            continue
        np.testing.assert_allclose(
            got[name], value, rtol=1e-3, atol=1e-5, err_msg=name
        )


def test_two_replicas_compute_what_one_does(workspace, tmp_path):
    """The last validation batch leaves the second replica without a row."""
    mirrored = {
        "runtime.distribution_strategy": "mirrored",
        "runtime.num_cpu_replicas": 2,
    }
    folders = [str(tmp_path / name) for name in ("one", "two")]
    log = str(tmp_path / "two.log")

    def params(overrides):
        return conftest.pretraining_params(
            workspace, workspace.student, 4, **_COMPARABLE, **overrides
        )

    process = processes.start(params(mirrored), folders[1], log)
    pretraining.run(params({}), folders[0], train=True)
    processes.finish(process, log)
    _assert_same(folders[1], folders[0])


@pytest.mark.slow
def test_two_workers_compute_what_one_does(workspace, teacher_dir, tmp_path):
    """All stages, twice: the second call continues the first."""
    folders = [str(tmp_path / name) for name in ("one", "many")]
    logs = [str(tmp_path / f"{index}.log") for index in range(2)]
    temporary = str(tmp_path / "temporary")
    strategy = "multi_worker_mirrored"
    os.mkdir(temporary)

    def params(steps, **overrides):
        return conftest.pretraining_params(
            workspace,
            workspace.student,
            steps,
            **{"task.teacher_dir": teacher_dir},
            **_COMPARABLE,
            **_COMPARABLE_TRANSFER,
            **overrides,
        )

    for steps in (3, 5):
        pretraining.run(params(steps), folders[0], train=True)
        hosts = ",".join(f"localhost:{p}" for p in processes.free_ports(2))
        workers = [
            processes.start(
                params(
                    steps,
                    **{
                        "runtime.distribution_strategy": strategy,
                        "runtime.worker_hosts": hosts,
                        "runtime.task_index": index,
                    },
                ),
                folders[1],
                log,
                TMPDIR=temporary,
            )
            for index, log in enumerate(logs)
        ]
        for process, log in zip(workers, logs, strict=True):
            processes.finish(process, log)
        _assert_same(folders[1], folders[0])
    assert not [n for n in os.listdir(temporary) if n.startswith("worker_")]

    def names(folder):
        return {
            re.sub(r"events\.out.*", "events", os.path.join(root, name))[
                len(folder) :
            ]
            for root, _, files in os.walk(folder)
            for name in files
        }

    assert names(folders[1]) == names(folders[0])
    rows = (tmp_path / "many" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == len(processes.losses(folders[1])) + 1


@pytest.mark.slow
@pytest.mark.slow
def test_bfloat16_distils_like_float32(workspace, teacher_dir, tmp_path):
    losses = {}
    for precision in ("float32", "bfloat16"):
        folder = str(tmp_path / precision)
        params = conftest.pretraining_params(
            workspace,
            workspace.student,
            4,
            **{
                "task.teacher_dir": teacher_dir,
                "task.knowledge_transfer.strategy": "none",
                "runtime.mixed_precision_dtype": precision,
            },
        )
        pretraining.run(params, folder, train=True)
        losses[precision] = processes.losses(folder)
    assert losses["bfloat16"].keys() == losses["float32"].keys()
    for key, values in losses["float32"].items():
        for name, value in values.items():
            got = losses["bfloat16"][key][name]
            if name.endswith("_loss"):
                # 8 bits of mantissa in every activation.
                assert got == pytest.approx(value, rel=0.05), (key, name)
