"""Activations by their name in bert_config.json."""

from collections.abc import Callable

import tensorflow as tf


def get(name: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the activation `name`.

    "gelu" is the tanh approximation, as in the reference; "gelu_erf" the
    exact form, which Hugging Face calls "gelu".

    Raises:
        ValueError: if there is no such activation.
    """
    activations = {
        "relu": tf.nn.relu,
        "relu6": tf.nn.relu6,
        "gelu": _gelu,
        "gelu_erf": _gelu_erf,
    }
    if name not in activations:
        raise ValueError(
            f"hidden_act: expected one of {', '.join(activations)}, "
            f"got {name!r}"
        )
    return activations[name]


def _gelu(x):
    return tf.nn.gelu(x, approximate=True)


def _gelu_erf(x):
    return tf.nn.gelu(x, approximate=False)
