"""Writes a .tflite with BERT's inputs, made directly from the schema.

Three integer inputs are looked up, masked, summed and classified: enough for
everything the benchmark does with a model, in a few milliseconds and without
TensorFlow.
"""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_OPERATORS = schema.BuiltinOperator
_TYPES = {
    "int32": schema.TensorType.INT32,
    "float32": schema.TensorType.FLOAT32,
}


class _Builder:
    """Collects tensors and operators of a single-subgraph model."""

    def __init__(self):
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors = []
        self.graph.operators = []
        self.model.subgraphs = [self.graph]

    def tensor(self, name, shape, dtype, shape_signature=None):
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = list(shape)
        tensor.shapeSignature = shape_signature
        tensor.type = _TYPES[dtype]
        tensor.buffer = 0
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name, value):
        index = self.tensor(name, value.shape, value.dtype.name)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        self.graph.tensors[index].buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        return index

    def operator(self, code, inputs, output, options=None):
        operator_code = schema.OperatorCodeT()
        operator_code.builtinCode = code
        operator_code.deprecatedBuiltinCode = min(code, 127)
        operator_code.version = 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        operator.inputs = inputs
        operator.outputs = [output]
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = options
        self.model.operatorCodes.append(operator_code)
        self.graph.operators.append(operator)

    def signature(self, inputs, outputs):
        definition = schema.SignatureDefT()
        definition.signatureKey = "serving_default"
        definition.subgraphIndex = 0
        definition.inputs = [_entry(*item) for item in inputs.items()]
        definition.outputs = [_entry(*item) for item in outputs.items()]
        self.model.signatureDefs = [definition]

    def serialize(self):
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _entry(name, index):
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = index
    return entry


def write(
    path,
    vocab_size=50,
    length=8,
    width=16,
    signature=True,
    dynamic=False,
):
    """Writes the model; its outputs are two probabilities.

    Args:
        path: of the file.
        vocab_size: rows of the word table, the limit of the word ids.
        length: sequence length.
        width: of the embeddings; more width is more work.
        signature: whether inputs have signature names; otherwise only the
            tensors are named.
        dynamic: whether the sequence length is left open.
    """
    random = np.random.default_rng(1)
    b = _Builder()
    open_shape = [1, -1] if dynamic else None
    # Not in the customary order: nothing may rely on positions.
    types, words, mask = (
        b.tensor(f"serving_default_{name}:0", [1, length], "int32", open_shape)
        for name in ("segment_ids", "ids", "mask")
    )

    def weights(*shape):
        return random.normal(size=shape).astype(np.float32)

    word_table = b.constant("word_table", weights(vocab_size, width))
    type_table = b.constant("type_table", weights(2, width))
    # The vocabulary is found through operators that only reshape the ids.
    flat_shape = b.constant("flat", np.array([length], np.int32))
    flat = b.tensor("flat_ids", [length], "int32")
    b.operator(_OPERATORS.RESHAPE, [words, flat_shape], flat)
    word_rows = b.tensor("word_rows", [length, width], "float32")
    b.operator(
        _OPERATORS.GATHER,
        [word_table, flat],
        word_rows,
        schema.GatherOptionsT(),
    )
    flat_types = b.tensor("flat_types", [length], "int32")
    b.operator(_OPERATORS.RESHAPE, [types, flat_shape], flat_types)
    type_rows = b.tensor("type_rows", [length, width], "float32")
    b.operator(
        _OPERATORS.GATHER,
        [type_table, flat_types],
        type_rows,
        schema.GatherOptionsT(),
    )
    rows = b.tensor("rows", [length, width], "float32")
    b.operator(
        _OPERATORS.ADD, [word_rows, type_rows], rows, schema.AddOptionsT()
    )
    float_mask = b.tensor("float_mask", [1, length], "float32")
    b.operator(
        _OPERATORS.CAST,
        [
            mask,
        ],
        float_mask,
        schema.CastOptionsT(),
    )
    column_shape = b.constant("column", np.array([length, 1], np.int32))
    column = b.tensor("mask_column", [length, 1], "float32")
    b.operator(_OPERATORS.RESHAPE, [float_mask, column_shape], column)
    masked = b.tensor("masked", [length, width], "float32")
    b.operator(_OPERATORS.MUL, [rows, column], masked, schema.MulOptionsT())
    one_row_shape = b.constant(
        "one_row_shape", np.array([1, length * width], np.int32)
    )
    one_row = b.tensor("one_row", [1, length * width], "float32")
    b.operator(_OPERATORS.RESHAPE, [masked, one_row_shape], one_row)
    kernel = b.constant("kernel", weights(2, length * width))
    bias = b.constant("bias", weights(2))
    logits = b.tensor("logits", [1, 2], "float32")
    b.operator(
        _OPERATORS.FULLY_CONNECTED,
        [one_row, kernel, bias],
        logits,
        schema.FullyConnectedOptionsT(),
    )
    output = b.tensor("StatefulPartitionedCall:0", [1, 2], "float32")
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    b.operator(_OPERATORS.SOFTMAX, [logits], output, softmax)
    b.graph.inputs = [types, words, mask]
    b.graph.outputs = [output]
    if signature:
        b.signature(
            {"ids": words, "mask": mask, "segment_ids": types},
            {"probabilities": output},
        )
    with open(path, "wb") as stream:
        stream.write(b.serialize())
