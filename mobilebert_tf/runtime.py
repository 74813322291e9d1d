"""Devices and precision of a run, from the Garden's RuntimeConfig."""

import tensorflow as tf
from absl import logging
from official.common import distribute_utils
from official.core import config_definitions
from official.modeling import performance

_PRECISIONS = (None, "float32", "bfloat16")


def set_up(
    config: config_definitions.RuntimeConfig,
) -> tf.distribute.Strategy:
    """Sets the precision policy and returns the distribution strategy.

    Raises:
        ValueError: for a strategy that is not supported, or a precision that
            MobileBERT does not survive: its activations reach 1e7 and float16
            ends at 65504.
    """
    precision = config.mixed_precision_dtype
    if precision not in _PRECISIONS:
        raise ValueError(
            f"runtime.mixed_precision_dtype={precision}: expected float32 or "
            "bfloat16 (activations reach 1e7, float16 ends at 65504)"
        )
    if config.distribution_strategy == "multi_worker_mirrored":
        raise ValueError(
            "runtime.distribution_strategy=multi_worker_mirrored is not "
            "supported yet; expected one_device, mirrored or tpu"
        )
    if not config.num_gpus and tf.config.list_physical_devices("GPU"):
        logging.warning(
            "training on the CPU though there is a GPU: set runtime.num_gpus"
        )
    performance.set_mixed_precision_policy(precision or "float32")
    return distribute_utils.get_distribution_strategy(
        distribution_strategy=config.distribution_strategy,
        num_gpus=config.num_gpus,
        tpu_address=config.tpu,
    )
