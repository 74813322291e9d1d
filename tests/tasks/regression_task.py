"""A task small enough to compute its updates by hand, in NumPy."""

import types

import numpy as np
import tensorflow as tf
import tf_keras

from mobilebert_tf.tasks import gradient_steps

PREDICTIONS, FEATURES = 6, 3
FACTORS = {"error": 0.7, "size": 2.0}
# Predictions of each of 8 examples: by pairs 0, 1, 11 and 2.
COUNTS = (0, 0, 1, 0, 6, 5, 0, 2)


class RegressionTask(gradient_steps.WeightedLossTask):
    """Squared error over the weighted predictions, mean output over all."""

    def __init__(self, gradient_accumulation_steps=1):
        super().__init__(
            types.SimpleNamespace(
                gradient_accumulation_steps=gradient_accumulation_steps
            )
        )

    def build_inputs(self, params, input_context=None):
        raise NotImplementedError

    def build_metrics(self, training=True):
        return [tf_keras.metrics.Mean(name) for name in FACTORS]

    def loss_factors(self):
        return FACTORS

    def loss_weights(self, inputs):
        return {
            "error": tf.reduce_sum(inputs["weights"]),
            "size": tf.cast(tf.size(inputs["weights"]), tf.float32),
        }

    def compute_loss(self, inputs, model, training):
        outputs = model(inputs["x"])[..., 0]
        weights = self.loss_weights(inputs)
        error = tf.math.divide_no_nan(
            tf.reduce_sum(inputs["weights"] * (outputs - inputs["y"]) ** 2),
            weights["error"],
        )
        size = tf.reduce_mean(outputs)
        loss = FACTORS["error"] * error + FACTORS["size"] * size
        return loss, {
            "error": (error, weights["error"]),
            "size": (size, weights["size"]),
        }


def make_model() -> tf_keras.Model:
    """Returns y = x k + b with k = (1, 2, 3) and b = 1."""
    layer = tf_keras.layers.Dense(1)
    model = tf_keras.Sequential([layer])
    model.build([None, PREDICTIONS, FEATURES])
    layer.set_weights([np.array([[1.0], [2.0], [3.0]]), np.array([1.0])])
    return model


def make_inputs(seed: int = 0) -> dict[str, np.ndarray]:
    """Returns x [8, P, F], y [8, P] and weights [8, P] of COUNTS."""
    generator = np.random.default_rng(seed)
    shape = [len(COUNTS), PREDICTIONS]
    weights = np.arange(PREDICTIONS) < np.array(COUNTS)[:, np.newaxis]
    return {
        "x": generator.normal(size=[*shape, FEATURES]).astype(np.float32),
        "y": generator.normal(size=shape).astype(np.float32),
        "weights": weights.astype(np.float32),
    }


def expected_update(inputs: dict[str, np.ndarray]):
    """Returns loss and gradients of make_model's kernel and bias."""
    x = inputs["x"].astype(np.float64)
    outputs = x @ np.array([1.0, 2.0, 3.0]) + 1.0
    difference = outputs - inputs["y"]
    weights = inputs["weights"] / inputs["weights"].sum()
    loss = 0.7 * (weights * difference**2).sum() + 2.0 * outputs.mean()
    slopes = 0.7 * weights * 2 * difference + 2.0 / outputs.size
    return loss, np.einsum("bp,bpf->f", slopes, x), slopes.sum()
