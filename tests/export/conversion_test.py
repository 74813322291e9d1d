"""A file whose weights the converter never saw is the converter's own."""

import numpy as np
import pytest
import small_models
import tensorflow as tf

from export import conversion
from export import inference_graph

_LENGTH = small_models.SEQUENCE_LENGTH
_LAYER_NORM = "without_opt"


def _converted(module):
    """What TensorFlow alone makes of a module."""
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [module.serve.get_concrete_function()], module
    ).convert()


def _assert_same(module):
    assert conversion.convert(module, min_elements=1) == _converted(module)


def _mostly_slow(names, fast):
    """Marks all names but the fast ones: each is converted twice."""
    return [
        name if name in fast else pytest.param(name, marks=pytest.mark.slow)
        for name in names
    ]


@pytest.mark.parametrize(
    "name",
    _mostly_slow(
        small_models.CONFIGS,
        ("mobilebert", "tiny", "without_opt", "plain_bert", "pad_invariant"),
    ),
)
def test_file_is_the_converters(name):
    model = small_models.make_classifier(small_models.CONFIGS[name])
    _assert_same(inference_graph.module_of(model, _LENGTH))


@pytest.mark.parametrize(
    "name",
    _mostly_slow(
        [name for name in small_models.MAKERS if name != "classification"],
        ("question_answering", "embedding_mean"),
    ),
)
def test_file_of_a_head_is_the_converters(name):
    model = small_models.MAKERS[name](small_models.CONFIGS["mobilebert"])
    _assert_same(inference_graph.module_of(model, _LENGTH))


def test_file_of_any_length_is_the_converters():
    model = small_models.make_classifier(small_models.CONFIGS["mobilebert"])
    _assert_same(inference_graph.module_of(model, None))


def test_untrained_gammas_do_not_hide_what_is_folded_into_a_bias():
    model = small_models.make_classifier(small_models.CONFIGS[_LAYER_NORM])
    for variable in model.weights:
        if variable.name.split("/")[-1].startswith("gamma"):
            variable.assign(tf.ones_like(variable))
    _assert_same(inference_graph.module_of(model, _LENGTH))


@pytest.mark.parametrize("name", ["tiny", _LAYER_NORM])
def test_a_constant_computed_with_a_stand_in_is_noticed(name, monkeypatch):
    monkeypatch.setattr(conversion, "_SUMS_AND_PRODUCTS", ())
    model = small_models.make_classifier(small_models.CONFIGS[name])
    _assert_same(inference_graph.module_of(model, _LENGTH))


def _module(function, width):
    module = tf.Module()
    module.serve = tf.function(
        function, input_signature=[tf.TensorSpec([2, width], tf.float32, "x")]
    )
    return module


def test_the_converter_computes_with_a_weight():
    kernel = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    factor = np.arange(1, 5, dtype=np.float32)
    _assert_same(_module(lambda x: {"y": (x @ kernel) * factor}, 8))


def test_two_products_share_a_square_kernel():
    kernel = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)

    def function(x):
        shared = tf.constant(kernel)
        return {"y": tf.nn.relu(x @ shared) @ shared}

    _assert_same(_module(function, 8))


def test_a_kernel_is_read_transposed():
    kernel = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    _assert_same(
        _module(lambda x: {"y": tf.matmul(x, kernel, transpose_b=True)}, 8)
    )
