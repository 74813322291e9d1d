"""What XNNPACK runs, on files of which the answer is known."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter as litert
from ai_edge_litert.tools import flatbuffer_utils

from export import delegation
from export import model_file

_SHAPE = [4, 8]
_KERNEL = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)


def _convert(middle, quantized=False):
    """Returns a .tflite of two dense layers with `middle` in between."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec(_SHAPE, tf.float32, "x")])
    def serve(x):
        return {"y": tf.matmul(middle(tf.matmul(x, _KERNEL)), _KERNEL)}

    module.serve = serve
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], module
    )
    if quantized:
        generator = np.random.default_rng(1)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [generator.normal(size=_SHAPE).astype(np.float32)] for _ in range(9)
        )
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        ]
    return converter.convert()


def _minimum(x):
    # Of two activations: of a constant the converter could make a ReLU.
    return tf.minimum(x, x[:, ::-1])


@pytest.mark.parametrize(
    "middle, quantized, partitions, left_out",
    [
        (tf.nn.softmax, False, 1, {}),
        (tf.nn.softmax, True, 2, {"SOFTMAX": 1}),
        (_minimum, True, 2, {"MINIMUM": 1, "STRIDED_SLICE": 1}),
        (tf.math.cumsum, False, 2, {"CUMSUM": 1}),
    ],
    ids=["float", "int8 softmax", "int8 minimum", "float cumsum"],
)
def test_operators_that_xnnpack_never_takes(
    middle, quantized, partitions, left_out
):
    content = _convert(middle, quantized)
    assert delegation.delegation(content) == delegation.Delegation(
        partitions, left_out
    )


def test_without_xnnpack_everything_is_left_out():
    content = _convert(tf.math.cumsum)
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_op_resolver_type=(
            litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    interpreter.allocate_tensors()
    found = delegation.of_interpreter(interpreter)
    operators = [op.name for op in model_file.ModelFile(content).operators]
    assert found.partitions == 0
    assert found.left_out == {
        name: operators.count(name) for name in set(operators)
    }
    assert found.num_left_out == len(operators)


def test_file_on_which_xnnpack_fails(tmp_path):
    model = flatbuffer_utils.convert_bytearray_to_object(
        bytearray(_convert(tf.nn.softmax, quantized=True))
    )
    (product,) = (
        tensor
        for tensor in model.subgraphs[0].tensors
        if tensor.name == b"MatMul"
    )
    product.quantization.scale = np.array([1e-30], np.float32)
    path = tmp_path / "extreme.tflite"
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    with pytest.raises(
        ValueError,
        match="extreme.tflite: LiteRT cannot prepare it: failed to create "
        "XNNPACK runtime; Node number",
    ):
        delegation.delegation(str(path))


def test_no_model():
    with pytest.raises(ValueError, match="model: LiteRT cannot prepare it"):
        delegation.delegation(b"not a model")
