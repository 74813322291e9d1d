"""A float32 .tflite file from the deployment graph.

TensorFlow's converter copies weights so often that the 97 MB of a full-size
model take gigabytes. It is given a graph in which each large kernel and table
is one repeated number, which takes no room. Its file has that number as often
as the array has elements, and the array is written there.
"""

import collections
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

# Smaller constants are left to the converter, which may compute with them.
MIN_ELEMENTS = 1 << 12

# Bits of the first of the numbers; the next is the next float32. They are so
# large that what is computed with one is larger than any constant of a network.
_FIRST_STAND_IN = np.float32(2.0**100).view(np.uint32)
_MAX_CONSTANT = 1e15
# Which input of an operator is a kernel or table, and the order of axes in
# which the converter stores it, by the number of axes.
_WEIGHTS = {
    "MatMul": (1, {2: (1, 0)}),
    "Conv2D": (1, {4: (3, 0, 1, 2)}),
    "GatherV2": (0, {2: (0, 1)}),
}
# A kernel that reads a constant's sum or product may be computed with: the
# converter makes x * a @ kernel + b of (x * a + b) @ kernel, and so on.
_SUMS_AND_PRODUCTS = ("Add", "AddV2", "BiasAdd", "Mul", "RealDiv", "Sub")
_MOVING_OPS = ("Identity", "Reshape", "StridedSlice", "Transpose")


def convert(module: tf.Module, min_elements: int = MIN_ELEMENTS) -> bytes:
    """Converts the `serve` function of `module` to a float32 .tflite.

    Args:
        module: what `inference_graph.make_module` returns.
        min_elements: of the kernels and tables that the converter does not
            see.

    Returns:
        The file's content, with one signature.

    Raises:
        ValueError: if the converter fails.
    """
    function = module.serve.get_concrete_function()
    graph = function.graph.as_graph_def()
    weights = _take_weights(graph, min_elements)
    content = bytearray(_convert(_module_of(graph, function)))
    if _put_weights(content, weights):
        return bytes(content)
    # It computed with a stand-in all the same.
    return _convert(module)


def _take_weights(graph, min_elements):
    """Replaces large weights of a GraphDef by stand-ins.

    Returns:
        {stand-in: array as the file is to have it}.
    """
    nodes = {node.name: node for node in graph.node}
    readers = collections.defaultdict(list)
    for node in graph.node:
        for place, name in enumerate(node.input):
            readers[name].append((node, place))
    weights = {}
    for node in graph.node:
        if node.op != "Const" or node.attr["dtype"].type != tf.float32:
            continue
        array = tf.make_ndarray(node.attr["value"].tensor)
        orders = {
            _stored_order(reader, place, array.ndim, nodes)
            for reader, place in readers[node.name]
        }
        if array.size < min_elements or len(orders) != 1 or None in orders:
            continue
        stand_in = (_FIRST_STAND_IN + np.uint32(len(weights))).view(np.float32)
        weights[stand_in] = array.transpose(orders.pop())
        node.attr["value"].tensor.CopyFrom(
            tf.make_tensor_proto(stand_in, tf.float32, array.shape)
        )
    return weights


def _stored_order(reader, place, num_axes, nodes):
    """Returns the order in which a file has the axes of a constant.

    Args:
        reader: a node that reads it.
        place: among the node's inputs.
        num_axes: of the constant.
        nodes: {name: node} of the graph.

    Returns:
        A tuple, or None if the constant is no weight of that node, or one
        that the converter may compute with.
    """
    weights_place, order_of = _WEIGHTS.get(reader.op, (None, {}))
    # Asking for an attribute that a node lacks would add it.
    if place != weights_place or (
        reader.op == "MatMul" and reader.attr["transpose_b"].b
    ):
        return None
    if weights_place == 1 and _is_of_constant(reader.input[0], nodes):
        return None
    return order_of.get(num_axes)


def _is_of_constant(name, nodes):
    """Returns whether a tensor is a sum or product with a constant."""
    node = _producer(name, nodes)
    while node.op in _MOVING_OPS:
        node = _producer(node.input[0], nodes)
    return node.op in _SUMS_AND_PRODUCTS and any(
        _producer(each, nodes).op == "Const" for each in node.input
    )


def _producer(name, nodes):
    return nodes[name.removeprefix("^").partition(":")[0]]


def _module_of(graph, function):
    """Returns a module whose `serve` computes a GraphDef.

    Args:
        graph: GraphDef.
        function: the ConcreteFunction that it was, for inputs and outputs.
    """
    inputs = [tensor.op.name for tensor in function.inputs]
    outputs = function.structured_outputs

    @tf.function(
        input_signature=[
            tf.TensorSpec(tensor.shape, tensor.dtype, tensor.op.name)
            for tensor in function.inputs
        ]
    )
    def serve(*arguments):
        tensors = tf.graph_util.import_graph_def(
            graph,
            dict(zip(inputs, arguments, strict=True)),
            [outputs[name].name for name in outputs],
            name="",
        )
        return dict(zip(outputs, tensors, strict=True))

    module = tf.Module(name="mobilebert")
    module.serve = serve
    return module


def _convert(module):
    # Without the trackable object no signature would be written.
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.serve.get_concrete_function()], module
    )
    try:
        return converter.convert()
    except Exception as error:
        # The converter raises classes of its own, some of them plain
        # Exceptions.
        raise ValueError(f"conversion failed: {error}") from error


def _put_weights(content, weights: Mapping[np.float32, np.ndarray]) -> bool:
    """Writes arrays where their stand-ins are.

    Returns:
        Whether the file has every stand-in, in the array's shape, and no
        constant that was computed with one.
    """
    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    missing = dict(weights)
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        buffer = model.Buffers(tensor.Buffer())
        if (
            tensor.Type() != schema.TensorType.FLOAT32
            or not buffer.DataLength()
        ):
            continue
        values = buffer.DataAsNumpy().view(np.float32)  # of `content`
        array = missing.get(values[0])
        if array is not None and array.shape == tuple(tensor.ShapeAsNumpy()):
            if not np.all(values == values[0]):
                return False
            del missing[values[0]]
            values[:] = array.ravel()
        elif not np.all(np.abs(values) < _MAX_CONSTANT):
            return False
    return not missing
