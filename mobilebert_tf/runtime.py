"""Devices, workers and precision of a run.

Several workers are as many processes, each started with the same command but
for its runtime.task_index, on one folder that all of them reach. They stay in
step: each computes the same on its rows of every batch. The first of them, the
chief, writes checkpoints, logs and configuration; what the others write goes
to a temporary folder, since TensorFlow lets all of them save or none.
"""

import contextlib
import dataclasses
import json
import logging as python_logging
import os
import socket
import tempfile
from collections.abc import Iterator

import tensorflow as tf
from absl import logging
from official.common import distribute_utils
from official.core import config_definitions
from official.modeling import performance

_PRECISIONS = (None, "float32", "bfloat16")
_GRPC = "grpc://"
_SECONDS = 20
_STRATEGIES = ("off", "one_device", "mirrored", "multi_worker_mirrored", "tpu")


@dataclasses.dataclass
class RuntimeConfig(config_definitions.RuntimeConfig):
    """The Garden's configuration, and replicas on a CPU.

    Attributes:
        num_cpu_replicas: int. With distribution_strategy=mirrored and
            num_gpus=0, replicas that share the CPU: it tries out on a small
            machine what several GPUs would compute. Not faster than one.
    """

    num_cpu_replicas: int = 1


def set_up(
    config: config_definitions.RuntimeConfig,
) -> tf.distribute.Strategy:
    """Sets the precision policy and returns the distribution strategy.

    To be called before TensorFlow computes anything: several workers, or
    several replicas on a CPU, cannot be had later.

    Raises:
        ValueError: for a strategy that is not supported, devices or workers
            that do not exist, or a precision that MobileBERT does not
            survive: its activations reach 1e7 and float16 ends at 65504.
    """
    precision = config.mixed_precision_dtype
    if precision not in _PRECISIONS:
        raise ValueError(
            f"runtime.mixed_precision_dtype={precision}: expected float32 or "
            "bfloat16 (activations reach 1e7, float16 ends at 65504)"
        )
    if config.distribution_strategy not in _STRATEGIES:
        raise ValueError(
            "runtime.distribution_strategy: expected one of "
            f"{', '.join(_STRATEGIES)}, got {config.distribution_strategy}"
        )
    _check_gpus(config)
    performance.set_mixed_precision_policy(precision or "float32")
    if config.distribution_strategy == "tpu":
        return _tpu(config.tpu)
    if config.num_cpu_replicas != 1:
        return _mirrored_on_cpu(config)
    if config.distribution_strategy == "multi_worker_mirrored":
        configure_cluster(config.worker_hosts, config.task_index)
        # One line, twice, for each collective operation of the graph.
        tf.get_logger().setLevel(python_logging.WARNING)
    return distribute_utils.get_distribution_strategy(
        distribution_strategy=config.distribution_strategy,
        num_gpus=config.num_gpus,
        all_reduce_alg=config.all_reduce_alg,
        num_packs=config.num_packs,
    )


def configure_cluster(worker_hosts: str | None, task_index: int) -> None:
    """Writes the workers to the environment variable TF_CONFIG.

    If TF_CONFIG is there already, it counts, and must agree.

    Args:
        worker_hosts: host:port of each worker, separated by commas; the first
            is the chief.
        task_index: int. Which of them this process is.

    Raises:
        ValueError: if the workers or which one this is cannot be told.
    """
    present = os.environ.get("TF_CONFIG", "")
    if not worker_hosts:
        if not present:
            raise ValueError(
                "runtime.distribution_strategy=multi_worker_mirrored: expected "
                "runtime.worker_hosts and runtime.task_index, or TF_CONFIG in "
                "the environment"
            )
        _check_cluster(present)
        return
    hosts = worker_hosts.split(",")
    if not 0 <= task_index < len(hosts):
        raise ValueError(
            f"runtime.task_index: expected 0 to {len(hosts) - 1} with the "
            f"{len(hosts)} hosts of runtime.worker_hosts, got {task_index}"
        )
    wanted = {
        "cluster": {"worker": hosts},
        "task": {"type": "worker", "index": task_index},
    }
    if present and _check_cluster(present) != wanted:
        raise ValueError(
            f"runtime.worker_hosts={worker_hosts} and task_index={task_index} "
            f"contradict TF_CONFIG={present}; give one of them"
        )
    distribute_utils.configure_cluster(worker_hosts, task_index)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the one that writes."""
    return strategy.extended.should_checkpoint


@contextlib.contextmanager
def output_directory(
    strategy: tf.distribute.Strategy, model_dir: str
) -> Iterator[str]:
    """Yields the folder for what this process writes of a run.

    It is `model_dir` in the chief, and elsewhere a temporary folder that is
    removed in the end.
    """
    if is_chief(strategy):
        yield model_dir
    else:
        with tempfile.TemporaryDirectory(prefix="worker_") as folder:
            yield folder


def meet(strategy: tf.distribute.Strategy, value: int, what: str) -> None:
    """Waits for all workers, and checks that they have the same `value`.

    Args:
        strategy: of the run.
        value: int, less than 2**31.
        what: names the value in the message.

    Raises:
        ValueError: if another worker has another value.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    gathered = _gather(strategy, tf.constant([value]))
    everywhere = sorted(set(gathered.numpy().tolist()))
    if everywhere != [value]:
        raise ValueError(
            f"the workers differ in {what}: got {everywhere}, here {value}; "
            "all need the same data and one --model_dir that each of them sees"
        )


@tf.function
def _gather(strategy, values):
    return strategy.gather(strategy.run(tf.identity, [values]), axis=0)


def _check_gpus(config):
    present = len(tf.config.list_physical_devices("GPU"))
    if config.num_gpus > present:
        raise ValueError(
            f"runtime.num_gpus={config.num_gpus}: TensorFlow sees {present}"
        )
    if present and not config.num_gpus:
        logging.warning(
            "training on the CPU though there is a GPU: set runtime.num_gpus"
        )


def _check_cluster(text):
    """Returns the value of TF_CONFIG."""
    try:
        config = json.loads(text)
        config["cluster"]["worker"][0], config["task"]["index"]
    except (ValueError, TypeError, LookupError) as error:
        raise ValueError(
            "TF_CONFIG: expected JSON with cluster.worker, task.type and "
            f"task.index, got {text}"
        ) from error
    return config


def _mirrored_on_cpu(config):
    count = config.num_cpu_replicas
    if config.distribution_strategy != "mirrored" or config.num_gpus:
        raise ValueError(
            f"runtime.num_cpu_replicas={count}: expected "
            "distribution_strategy=mirrored and num_gpus=0, got "
            f"{config.distribution_strategy} and {config.num_gpus}"
        )
    if count < 1:
        raise ValueError(
            f"runtime.num_cpu_replicas: expected at least 1, got {count}"
        )
    (cpu,) = tf.config.list_physical_devices("CPU")
    with contextlib.suppress(RuntimeError):  # TensorFlow has started already.
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    present = len(tf.config.list_logical_devices("CPU"))
    if present < count:
        raise ValueError(
            f"runtime.num_cpu_replicas={count}: TensorFlow has started with "
            f"{present} of them"
        )
    return tf.distribute.MirroredStrategy(
        [f"device:CPU:{index}" for index in range(count)]
    )


def _tpu(address):
    if address is None:
        raise ValueError(
            "runtime.distribution_strategy=tpu: expected runtime.tpu, the "
            "name or grpc:// address of a TPU, or local"
        )
    try:
        if address.startswith(_GRPC):
            # TensorFlow would wait for ever.
            host, _, port = address.removeprefix(_GRPC).partition(":")
            socket.create_connection((host, int(port)), _SECONDS).close()
        return distribute_utils.get_distribution_strategy(
            distribution_strategy="tpu", tpu_address=address
        )
    # Whatever the client of the platform raises.
    except Exception as error:  # pylint: disable=broad-except
        reason = str(error).partition(". ")[0].partition("\n")[0]
        raise ValueError(
            f"runtime.tpu={address}: no TPU can be used there: {reason}"
        ) from error
