"""What a .tflite file holds: operators, tensors, and how much is integer."""

import collections
import dataclasses

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_TYPE_NAMES = {
    value: name
    for name, value in vars(schema.TensorType).items()
    if isinstance(value, int)
}
# Ops between two number formats belong to neither.
CONVERSIONS = ("CAST", "QUANTIZE", "DEQUANTIZE")
# Which input of an operator its weights are.
_WEIGHT_INPUTS = {"FULLY_CONNECTED": 1, "CONV_2D": 1, "GATHER": 0}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of the file.

    Attributes:
        name: str.
        type: name of the TensorType, such as "INT8".
        shape: tuple of int.
        num_scales: int. 0 unquantised, 1 per tensor, more per channel.
        zero_point: int, of a tensor with one scale, else None.
        is_constant: bool.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    num_scales: int
    zero_point: int | None
    is_constant: bool


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator; inputs and outputs are tensor indices, -1 for none."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class ModelFile:
    """A parsed .tflite of one subgraph.

    Args:
        content: bytes of the file.

    Attributes:
        tensors: list of Tensor.
        operators: list of Operator, in order of execution.
        inputs: tuple of the indices of the tensors that it is given.
    """

    def __init__(self, content: bytes):
        self._model = flatbuffer_utils.convert_bytearray_to_object(
            bytearray(content)
        )
        graph = self._model.subgraphs[0]
        self.tensors = [self._tensor(tensor) for tensor in graph.tensors]
        self.inputs = tuple(int(i) for i in graph.inputs)
        self.operators = [
            Operator(
                name=flatbuffer_utils.opcode_to_name(
                    self._model, operator.opcodeIndex
                ),
                inputs=tuple(int(i) for i in operator.inputs),
                outputs=tuple(int(i) for i in operator.outputs),
            )
            for operator in graph.operators
        ]

    def float_activations(self) -> list[str]:
        """Returns the names of the float32 tensors that operators compute."""
        return [
            self.tensors[i].name
            for operator in self.operators
            for i in operator.outputs
            if self.tensors[i].type == "FLOAT32"
        ]

    def gathered_tables(self) -> dict[str, np.ndarray]:
        """Returns the constant float32 tables that GATHERs read, by name."""
        return {
            self.tensors[operator.inputs[0]].name: self._content(
                operator.inputs[0]
            )
            for operator in self.operators
            if operator.name == "GATHER"
            and self.tensors[operator.inputs[0]].is_constant
            and self.tensors[operator.inputs[0]].type == "FLOAT32"
        }

    def computation_type(self, operator: Operator) -> str:
        """Returns the number format an operator computes in.

        "CONVERSION" for ops between two formats, else the type of its output.
        """
        if operator.name in CONVERSIONS:
            return "CONVERSION"
        return self.tensors[operator.outputs[0]].type

    def census(self) -> dict[str, dict[str, int]]:
        """Counts operators: {operator name: {number format: count}}."""
        counts = collections.defaultdict(collections.Counter)
        for operator in self.operators:
            counts[operator.name][self.computation_type(operator)] += 1
        return {name: dict(counts[name]) for name in sorted(counts)}

    def weight_census(self) -> dict[str, dict[str, int]]:
        """Counts operators with weights by the format these are stored in.

        That is another than the operator computes in where they are unpacked
        first, {operator name: {number format: count}}.
        """
        producers = {op.outputs[0]: op for op in self.operators}
        counts = collections.defaultdict(collections.Counter)
        for operator in self.operators:
            if operator.name not in _WEIGHT_INPUTS:
                continue
            index = operator.inputs[_WEIGHT_INPUTS[operator.name]]
            while index in producers and producers[index].name in CONVERSIONS:
                index = producers[index].inputs[0]
            if index not in producers and index not in self.inputs:
                counts[operator.name][self.tensors[index].type] += 1
        return {name: dict(counts[name]) for name in sorted(counts)}

    def _tensor(self, tensor):
        quantization = tensor.quantization
        scales = [] if quantization is None else quantization.scale
        num_scales = 0 if scales is None else len(scales)
        buffer = self._model.buffers[tensor.buffer]
        return Tensor(
            name=tensor.name.decode(),
            type=_TYPE_NAMES[tensor.type],
            shape=tuple(int(size) for size in tensor.shape),
            num_scales=num_scales,
            zero_point=(
                int(quantization.zeroPoint[0]) if num_scales == 1 else None
            ),
            is_constant=bool(buffer.data is not None and len(buffer.data) > 0),
        )

    def _content(self, index):
        tensor = self._model.subgraphs[0].tensors[index]
        data = self._model.buffers[tensor.buffer].data
        return np.frombuffer(bytes(data), np.float32).reshape(tensor.shape)


def integer_shares(census: dict[str, dict[str, int]]) -> dict[str, float]:
    """Returns the share of each operator's instances that compute in int8."""
    return {
        name: counts.get("INT8", 0) / sum(counts.values())
        for name, counts in census.items()
        if name not in CONVERSIONS
    }


def float_operators(census: dict[str, dict[str, int]]) -> dict[str, int]:
    """Returns how many instances of each operator compute in float32."""
    return {
        name: counts["FLOAT32"]
        for name, counts in census.items()
        if "FLOAT32" in counts
    }
