"""A .tflite file: its identity, its inputs and values that are safe for them.

BERT models look their integer inputs up in tables; an index outside makes the
kernel fail (or, in old builds, read beyond the table). The safe range is read
from the model itself: the first dimension of every table an input indexes.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobilebert_tf import files

_DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.FLOAT16: "float16",
    schema.TensorType.INT64: "int64",
    schema.TensorType.INT32: "int32",
    schema.TensorType.INT16: "int16",
    schema.TensorType.INT8: "int8",
    schema.TensorType.UINT8: "uint8",
    schema.TensorType.BOOL: "bool",
}
# Operators that pass integer ids on unchanged.
_ID_PRESERVING = {
    schema.BuiltinOperator.CAST,
    schema.BuiltinOperator.RESHAPE,
    schema.BuiltinOperator.EXPAND_DIMS,
    schema.BuiltinOperator.SQUEEZE,
    schema.BuiltinOperator.SLICE,
    schema.BuiltinOperator.STRIDED_SLICE,
    schema.BuiltinOperator.CONCATENATION,
    schema.BuiltinOperator.PACK,
    schema.BuiltinOperator.PAD,
    schema.BuiltinOperator.TRANSPOSE,
    schema.BuiltinOperator.TILE,
    schema.BuiltinOperator.BROADCAST_TO,
}
_WORD_IDS = re.compile(r"(^|[^a-z])ids?([^a-z]|$)|word|token")
# Largest word id when the model does not show its table: every BERT
# vocabulary is larger.
_FALLBACK_HIGHEST_ID = 1000


@dataclasses.dataclass(frozen=True)
class ModelInput:
    """One input of the model, in the order the interpreter has them.

    Attributes:
        name: the signature's name, or the tensor's if there is no signature.
        dtype: name of the numpy type.
        shape: static shape.
        low, high: inclusive range of valid integer values; None for floats.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    low: int | None
    high: int | None


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """A .tflite file on this machine.

    Attributes:
        label: shortest name that tells it from the others of the run.
        path: absolute.
        sha256: hexadecimal digest of the content.
        size_bytes: length of the file.
    """

    label: str
    path: str
    sha256: str
    size_bytes: int


def open_all(paths: Sequence[str]) -> list[ModelFile]:
    """Returns the files with labels that are unique among them.

    Raises:
        ValueError: if one is missing, unreadable or given twice.
    """
    absolute = []
    for path in paths:
        files.require_file(path, "models")
        if os.path.realpath(path) in absolute:
            raise ValueError(f"--models: {path} is given twice")
        absolute.append(os.path.realpath(path))
    return [
        ModelFile(
            label=label,
            path=path,
            sha256=sha256_of(path),
            size_bytes=os.path.getsize(path),
        )
        for label, path in zip(_labels(absolute), absolute, strict=True)
    ]


def sha256_of(path: str) -> str:
    """Returns the hexadecimal SHA-256 digest of a file.

    Raises:
        OSError: if it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_inputs(path: str) -> tuple[ModelInput, ...]:
    """Returns the inputs of the first subgraph, the one that is measured.

    Raises:
        ValueError: if the file is no .tflite model, or an input has no static
            shape or a type that cannot be filled.
        OSError: if it cannot be read.
    """
    with open(path, "rb") as stream:
        content = stream.read()
    if content[4:8] != b"TFL3":
        raise ValueError(
            f"{path}: expected a .tflite model (TFL3 in bytes 4 to 8), got "
            f"{content[4:8]!r}"
        )
    try:
        model = schema.Model.GetRootAs(content, 0)
        return _read_inputs(model, path)
    except ValueError:
        raise
    except Exception as error:  # pylint: disable=broad-except
        # A damaged flatbuffer fails wherever its offsets point to.
        raise ValueError(f"{path}: damaged .tflite model: {error}") from error


def random_values(inputs: Sequence[ModelInput], seed: int) -> list[np.ndarray]:
    """Returns seeded random values within the range of each input."""
    generator = np.random.default_rng(seed)
    values = []
    for spec in inputs:
        if spec.low is None:
            value = generator.random(spec.shape, dtype=np.float32)
        else:
            value = generator.integers(
                spec.low, spec.high, size=spec.shape, endpoint=True
            )
        values.append(value.astype(spec.dtype))
    return values


def _read_inputs(model, path):
    graph = model.Subgraphs(0)
    operator_codes = [
        # Models before schema version 3a have the code in the old field.
        max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        for code in map(model.OperatorCodes, range(model.OperatorCodesLength()))
    ]
    names = _signature_names(model)
    inputs = []
    for index in graph.InputsAsNumpy():
        tensor = graph.Tensors(int(index))
        name = names.get(int(index), tensor.Name().decode(errors="replace"))
        shape = _static_shape(tensor, name, path)
        dtype = _DTYPES.get(tensor.Type())
        if dtype is None:
            raise ValueError(
                f"{path}: input {name!r} has tensor type {tensor.Type()}; "
                f"expected one of {', '.join(sorted(_DTYPES.values()))}"
            )
        low, high = None, None
        if not dtype.startswith("float"):
            rows = _smallest_table(graph, operator_codes, int(index))
            low, high = _value_range(name, dtype, rows)
        inputs.append(ModelInput(name, dtype, shape, low, high))
    return tuple(inputs)


def _signature_names(model):
    for number in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(number)
        if signature.SubgraphIndex() == 0:
            return {
                entry.TensorIndex(): entry.Name().decode(errors="replace")
                for entry in map(
                    signature.Inputs, range(signature.InputsLength())
                )
            }
    return {}


def _static_shape(tensor, name, path):
    shape = [tensor.Shape(i) for i in range(tensor.ShapeLength())]
    signature = [
        tensor.ShapeSignature(i) for i in range(tensor.ShapeSignatureLength())
    ]
    if any(size < 1 for size in [*shape, *signature]):
        raise ValueError(
            f"{path}: input {name!r} has the dynamic shape "
            f"{signature or shape}; expected a static one: export the model "
            "with a fixed batch and sequence length"
        )
    return tuple(shape)


def _value_range(name, dtype, rows):
    """Returns the inclusive range of valid values of an integer input."""
    if dtype == "bool":
        return 0, 1
    lowered = name.lower()
    if "mask" in lowered:
        # All positions visible: the work of a full-length text.
        low, high = 1, 1
    elif "type" in lowered or "segment" in lowered:
        low, high = 0, 0
    elif rows is not None:
        low, high = 0, rows - 1
    elif _WORD_IDS.search(lowered):
        low, high = 0, _FALLBACK_HIGHEST_ID
    else:
        low, high = 0, 1
    limit = np.iinfo(dtype).max if rows is None else rows - 1
    return min(low, limit), min(high, limit)


def _smallest_table(graph, operator_codes, source):
    """Returns the rows of the smallest table `source` indexes, or None."""
    reached = {source}
    rows = []
    # Operators are stored in the order of execution: one pass suffices.
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        code = operator_codes[operator.OpcodeIndex()]
        if reached.isdisjoint(inputs):
            continue
        if code in _ID_PRESERVING:
            reached.update(
                operator.Outputs(i) for i in range(operator.OutputsLength())
            )
        elif code == schema.BuiltinOperator.GATHER and inputs[1] in reached:
            table = graph.Tensors(inputs[0])
            options = schema.GatherOptions()
            raw = operator.BuiltinOptions()
            axis = 0
            if raw is not None:
                options.Init(raw.Bytes, raw.Pos)
                axis = options.Axis() % max(table.ShapeLength(), 1)
            rows.append(table.Shape(axis))
        elif code == schema.BuiltinOperator.GATHER_ND and inputs[1] in reached:
            rows.append(graph.Tensors(inputs[0]).Shape(0))
        elif (
            code == schema.BuiltinOperator.EMBEDDING_LOOKUP
            and inputs[0] in reached
        ):
            rows.append(graph.Tensors(inputs[1]).Shape(0))
    return min(rows, default=None)


def _labels(paths):
    """Returns the shortest path endings that are unique."""
    for parts in range(1, max(p.count(os.sep) for p in paths) + 1):
        labels = [os.sep.join(p.split(os.sep)[-parts:]) for p in paths]
        if len(set(labels)) == len(labels):
            return labels
    return paths
