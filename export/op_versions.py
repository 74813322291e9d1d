"""Which version of each operator a file needs, and which runtime has it.

An operator's version in a .tflite says what its kernel must understand; a
runtime refuses a file with a newer version than it knows. Where a file says
less than it needs (ai-edge-quantizer writes 1 of most operators), an old
runtime runs it all the same and may compute nonsense without a word: `restamp`
writes the versions that are needed.

Sources: tflite/tools/versioning/op_version.cc and runtime_version.cc of
google-ai-edge/LiteRT, for what conversions of this project's graphs contain.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_OP_NAMES = {
    value: name
    for name, value in vars(schema.BuiltinOperator).items()
    if isinstance(value, int)
}
_TYPE_NAMES = {
    value: name
    for name, value in vars(schema.TensorType).items()
    if isinstance(value, int)
}
_MIN_RUNTIME_NAME = "min_runtime_version"
_MIN_RUNTIME_BYTES = 16
CUSTOM = "CUSTOM"

# The TensorFlow Lite release that first had version 1, 2, ... of an operator.
# One that is not here has version 1 only, and is as old as these graphs need.
FIRST_RUNTIME: Mapping[str, tuple[str, ...]] = {
    "ADD": ("1.5", "1.14", "2.4", "2.6", "2.13"),
    "BATCH_MATMUL": ("2.3", "2.3", "2.4", "2.5"),
    "CAST": ("1.5", "2.7", "2.8", "2.9", "2.12", "2.15", "2.17"),
    "CONCATENATION": ("1.5", "1.14", "2.3", "2.14"),
    "CONV_2D": (
        *("1.5", "1.14", "1.14", "2.3"),
        *("2.4", "2.9", "2.11", "2.15"),
    ),
    "DEQUANTIZE": ("1.13", "1.14", "1.15", "2.2", "2.7", "2.18"),
    "DIV": ("1.6", "2.3"),
    "EMBEDDING_LOOKUP": ("1.13", "1.14", "1.14", "2.18"),
    "EQUAL": ("1.14", "1.14", "2.3", "2.13"),
    "EXPAND_DIMS": ("1.10",),
    "FILL": ("1.13", "2.3", "2.5", "2.12"),
    "FULLY_CONNECTED": (
        *("1.5", "1.10", "1.14", "1.14", "2.0", "2.1", "2.3"),
        *("2.3", "2.3", "2.11", "2.15", "2.17", "2.18"),
    ),
    "GATHER": ("1.6", "1.14", "1.15", "2.4", "2.5", "2.13", "2.15"),
    "GELU": ("2.9", "2.9"),
    "L2_NORMALIZATION": ("1.5", "1.14"),
    "LOGISTIC": ("1.14", "1.14", "2.3"),
    "MAXIMUM": ("1.14", "1.14", "2.3", "2.3"),
    "MEAN": ("1.6", "1.14", "2.4"),
    "MINIMUM": ("1.14", "1.14", "2.3", "2.3"),
    "MUL": ("1.5", "1.14", "1.15", "2.3", "2.6", "2.11", "2.13"),
    "NEG": ("1.9",),
    "PACK": ("1.11", "1.14", "2.3", "2.13"),
    "PAD": ("1.5", "1.14", "2.4", "2.6"),
    "PADV2": ("1.9", "1.14", "2.4", "2.6"),
    "POW": ("1.10",),
    "QUANTIZE": ("1.14", "1.15", "2.7"),
    "RELU": ("1.5", "2.1", "2.5"),
    "RELU6": ("1.5", "1.14", "2.5"),
    "RESHAPE": ("1.5",),
    "RSQRT": ("1.10", "2.5", "2.15"),
    "SELECT_V2": ("2.2", "2.12"),
    "SHAPE": ("1.10",),
    "SLICE": ("1.14", "1.14", "1.14", "2.4", "2.5", "2.14"),
    "SOFTMAX": ("1.5", "1.14", "2.3"),
    "SQRT": ("1.10",),
    "SQUARED_DIFFERENCE": ("1.13", "2.5"),
    "SQUEEZE": ("1.6", "2.5"),
    "STRIDED_SLICE": (
        *("1.6", "1.14", "2.1", "2.2"),
        *("2.5", "2.6", "2.14", "2.14"),
    ),
    "SUB": ("1.6", "1.14", "2.3", "2.4", "2.4"),
    "SUM": ("1.10", "1.15"),
    "TANH": ("1.14", "1.14", "2.3"),
    "TRANSPOSE": ("1.6", "1.14", "1.15", "2.3", "2.4", "2.12", "2.14.4"),
}

# The version that first took a first input of a type, else 1.
_BY_INPUT_TYPE = {
    "ADD": {"INT8": 2, "INT16": 3, "INT64": 4},
    "BATCH_MATMUL": {"INT8": 2, "INT16": 3},
    "CONCATENATION": {"INT8": 2, "INT16": 3},
    "EQUAL": {"INT8": 2, "INT16": 4},
    "EXP": {"INT8": 2, "INT16": 2},
    "GATHER": {"INT8": 2, "INT16": 4, "INT4": 7},
    "GELU": {"INT8": 2},
    "L2_NORMALIZATION": {"INT8": 2},
    "LOGISTIC": {"INT8": 2, "INT16": 3},
    "MAXIMUM": {"INT8": 2, "INT16": 4},
    "MEAN": {"INT8": 2, "INT16": 3},
    "MINIMUM": {"INT8": 2, "INT16": 4},
    "MUL": {"INT8": 2, "INT16": 4, "INT64": 5},
    "PACK": {"INT8": 2, "INT16": 3},
    "PAD": {"INT8": 2, "INT16": 3},
    "PADV2": {"INT8": 2, "INT16": 3},
    "RELU": {"INT8": 2, "INT16": 3},
    "RELU6": {"INT8": 2, "INT16": 3},
    "RSQRT": {"INT8": 2, "INT16": 3},
    "SLICE": {"INT8": 2, "INT16": 4},
    "SOFTMAX": {"INT8": 2, "INT16": 3},
    "SQUARED_DIFFERENCE": {"INT8": 2},
    "STRIDED_SLICE": {"INT8": 2},
    "SUB": {"INT8": 2, "INT16": 5, "INT64": 4},
    "SUM": {"INT8": 2},
    "TANH": {"INT8": 2, "INT16": 3},
    "TRANSPOSE": {"INT8": 2, "INT16": 5, "INT4": 7},
}
# By the format it converts from or to, whichever asks for more.
_CONVERSIONS = {
    "CAST": {"INT8": 3, "FLOAT16": 5, "INT4": 6},
    "DEQUANTIZE": {"INT8": 2, "FLOAT16": 3, "INT16": 3, "INT4": 6},
    "QUANTIZE": {"INT16": 2, "INT4": 4},
}


@dataclasses.dataclass(frozen=True)
class Use:
    """An operator of a file.

    Attributes:
        name: of the builtin operator, or CUSTOM.
        stamped: its version in the file.
        needed: the version it needs.
        custom_name: of a CUSTOM operator.
    """

    name: str
    stamped: int
    needed: int
    custom_name: str = ""


def uses(model: schema.ModelT) -> list[Use]:
    """Returns the operators of all subgraphs."""
    found = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            name = _op_name(code)
            custom = (code.customCode or b"").decode()
            needed = 1 if custom else needed_version(name, operator, graph)
            found.append(Use(name, code.version, needed, custom))
    return found


def restamp(model: schema.ModelT) -> None:
    """Raises operator versions to those needed, in place.

    `min_runtime_version` of the file, where it has one, is set accordingly.
    """
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            if not code.customCode:
                needed = needed_version(_op_name(code), operator, graph)
                code.version = max(code.version, needed)
    text = first_runtime(uses(model)).encode()
    for entry in model.metadata or []:
        if entry.name.decode() == _MIN_RUNTIME_NAME:
            padded = text.ljust(_MIN_RUNTIME_BYTES, b"\0")
            model.buffers[entry.buffer].data = np.frombuffer(padded, np.uint8)


def first_runtime(operators: list[Use]) -> str:
    """Returns the first TensorFlow Lite release that loads all, as "2.3.0".

    By the versions needed or stamped, whichever are greater.
    """
    releases = [
        _release(FIRST_RUNTIME[use.name][max(use.stamped, use.needed) - 1])
        for use in operators
        if max(use.stamped, use.needed) <= len(FIRST_RUNTIME.get(use.name, ()))
    ]
    release = max(releases, default=(1, 5))
    return ".".join(map(str, (*release, 0)[:3]))


def is_known(use: Use) -> bool:
    """Returns whether `first_runtime` knows when the operator came."""
    known = len(FIRST_RUNTIME.get(use.name, ())) or 1
    return max(use.stamped, use.needed) <= known


def comes_after(use: Use, release: str) -> bool:
    """Returns whether a runtime of this release is too old for it."""
    versions = FIRST_RUNTIME.get(use.name, ("1.5",))
    index = min(max(use.stamped, use.needed), len(versions)) - 1
    return not is_known(use) or _release(versions[index]) > _release(release)


def needed_version(name: str, operator, graph) -> int:
    """Returns the version of a builtin operator that a kernel must know.

    Args:
        name: of the operator.
        operator: OperatorT.
        graph: SubGraphT that it is in.
    """
    inputs = [graph.tensors[i] for i in operator.inputs if i >= 0]
    types = [_TYPE_NAMES[tensor.type] for tensor in inputs]
    output = _TYPE_NAMES[graph.tensors[operator.outputs[0]].type]
    if name == "FULLY_CONNECTED":
        return _fully_connected(inputs, types, operator)
    if name == "CONV_2D":
        return _conv_2d(inputs, types, operator.builtinOptions)
    if name in _CONVERSIONS:
        by_type = _CONVERSIONS[name]
        version = max(by_type.get(types[0], 1), by_type.get(output, 1))
        if name != "CAST" and _is_per_channel(inputs[0]):
            version = max(version, {"DEQUANTIZE": 5, "QUANTIZE": 3}[name])
        return version
    version = _BY_INPUT_TYPE.get(name, {}).get(types[0] if types else "", 1)
    if name == "BATCH_MATMUL" and types[0] == "FLOAT32":
        options = operator.builtinOptions
        if types[1] == "INT8" and options.asymmetricQuantizeInputs:
            return 4
    if name == "TRANSPOSE" and len(inputs[0].shape) > 4:
        return max(version, 4 if len(inputs[0].shape) == 5 else 6)
    if name == "GATHER" and operator.builtinOptions.batchDims:
        return max(version, 5)
    if name == "STRIDED_SLICE" and (
        operator.builtinOptions.ellipsisMask
        or operator.builtinOptions.newAxisMask
    ):
        return max(version, 6)
    if name == "MUL" and types[0] == "INT8":
        return 3 if _rescales_up(inputs, operator, graph) else 2
    return version


def _fully_connected(inputs, types, operator):
    # Of several conditions the one that asks for most counts.
    options = operator.builtinOptions
    version = 1
    if types[1] == "INT4":
        version = 13 if types[0] == "INT16" else 10
    elif types[:2] == ["INT8", "INT8"]:
        version = 4
    elif types[0] == "INT16":
        version = 7
    elif types[:2] == ["FLOAT32", "INT8"]:
        version = 9 if options.asymmetricQuantizeInputs else 3
        if _is_per_channel(inputs[1]):
            version = 12
    if len(operator.inputs) == 2:  # An absent bias is -1 otherwise.
        version = max(version, 6)
    if options.keepNumDims:
        version = max(version, 5)
    if types[0] == "INT16" and options.quantizedBiasType:
        version = max(version, 11)
    return version


def _conv_2d(inputs, types, options):
    if types[1] == "INT4":
        return 7
    if types[0] == "INT16":
        return 8 if options.quantizedBiasType else 4
    if types[:2] == ["INT8", "INT8"]:
        return 3
    if types[:2] == ["FLOAT32", "INT8"]:
        return 5 if _is_per_channel(inputs[1]) else 2
    return 1


def _rescales_up(inputs, operator, graph):
    output = graph.tensors[operator.outputs[0]]
    scales = [_scale(tensor) for tensor in (*inputs[:2], output)]
    return None not in scales and scales[0] * scales[1] / scales[2] >= 1.0


def _scale(tensor):
    scales = _scales(tensor)
    return float(scales[0]) if len(scales) else None


def _is_per_channel(tensor):
    return len(_scales(tensor)) > 1


def _scales(tensor):
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        return ()
    return quantization.scale


def _op_name(code):
    return _OP_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _release(text):
    return tuple(int(part) for part in text.split("."))
