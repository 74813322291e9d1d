"""Where in its graph a quantised file loses accuracy.

A file is compared with the float32 file that it was made of, tensor by
tensor, on real examples and at real positions alone. Two errors are told
apart: the running error, which all operators so far have made together, and
the local one of an operator that is given what the float32 file computes. For
the latter the file's graph is cut at every tensor and run once more.
"""

import copy
import dataclasses
import math
from collections.abc import Iterable

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert.tools import flatbuffer_utils

from export import activations
from export import model_file

# They move values and change none: errors would be told several times.
_MOVING_OPS = (
    "CONCATENATION",
    "EXPAND_DIMS",
    "RESHAPE",
    "SLICE",
    "SPLIT",
    "SQUEEZE",
    "STRIDED_SLICE",
    "TRANSPOSE",
)


@dataclasses.dataclass(frozen=True)
class TensorError:
    """The error of what one operator computes.

    Attributes:
        name: of the tensor.
        operator: that computes it, such as "FULLY_CONNECTED".
        number_format: of the tensor in the file, such as "INT8".
        lowest, highest: of the float32 file's values.
        sqnr_db: power of the float32 values over that of the error, in dB;
            infinite if there is none.
        local_sqnr_db: the same of this operator alone, given the float32
            file's values, rounded to the formats of its inputs.
    """

    name: str
    operator: str
    number_format: str
    lowest: float
    highest: float
    sqnr_db: float
    local_sqnr_db: float

    @property
    def short_name(self) -> str:
        """The name, of the first operator where several are fused."""
        return self.name.partition(";")[0]


@dataclasses.dataclass(frozen=True)
class LayerErrors:
    """The errors of a file.

    Attributes:
        num_examples: that they were measured on.
        tensors: in order of execution.
    """

    num_examples: int
    tensors: tuple[TensorError, ...]

    def worst(self, count: int) -> list[TensorError]:
        """Returns the tensors whose own operators err most, worst first."""
        inexact = [t for t in self.tensors if t.local_sqnr_db < math.inf]
        return sorted(inexact, key=lambda t: t.local_sqnr_db)[:count]


def measure(
    float_model: bytes,
    model: bytes,
    examples: Iterable[dict[str, np.ndarray]],
    num_threads: int = 1,
) -> LayerErrors:
    """Compares a file with the float32 file of the same graph.

    Args:
        float_model: the float32 .tflite that `model` was made of, with one
            signature; tensors are told by their names.
        model: the quantised .tflite.
        examples: inputs int32 [1, S] by signature name.
        num_threads: of the interpreters.

    Raises:
        ValueError: if there are no examples, or no tensor of `model` is one of
            `float_model`.
    """
    reference = activations.Activations(float_model, num_threads)
    running = activations.Activations(model, num_threads)
    origins = _origins(running.graph, reference)
    compared = [
        (operator, operator.outputs[0])
        for operator in running.graph.operators
        if operator.outputs[0] in origins
        and operator.name not in model_file.CONVERSIONS
        and operator.name not in _MOVING_OPS
        and _is_real_number(running.formats[operator.outputs[0]])
    ]
    if not compared:
        raise ValueError(
            "layer errors: expected tensors with the names of the float32 "
            "file's, got none"
        )
    local = _CutGraph(model, origins, num_threads)
    sums = {index: _Sums() for _, index in compared}
    num_examples = 0
    for example in examples:
        num_examples += 1
        reference.run(example)
        running.run(example)
        outputs = local.run(
            example, {i: reference.raw(origin) for i, origin in origins.items()}
        )
        for _, index in compared:
            details = running.formats[index]
            values = (
                reference.raw(origins[index]),
                activations.dequantize(running.raw(index), details),
                activations.dequantize(outputs[index], details),
            )
            sums[index].add(*(running.real(index, each) for each in values))
    if not num_examples:
        raise ValueError("layer errors: expected examples, got none")
    return LayerErrors(
        num_examples,
        tuple(
            TensorError(
                name=running.graph.tensors[index].name,
                operator=operator.name,
                number_format=running.graph.tensors[index].type,
                **sums[index].summary(),
            )
            for operator, index in compared
        ),
    )


class _Sums:
    """Powers and bounds of a tensor over examples."""

    def __init__(self):
        self._bounds = [math.inf, -math.inf]
        self._signal = self._noise = self._local_noise = 0.0

    def add(self, expected, running, local):
        expected = expected.astype(np.float64)
        self._bounds = [
            min(self._bounds[0], expected.min()),
            max(self._bounds[1], expected.max()),
        ]
        self._signal += np.sum(expected**2)
        self._noise += np.sum((running - expected) ** 2)
        self._local_noise += np.sum((local - expected) ** 2)

    def summary(self):
        return {
            "lowest": float(self._bounds[0]),
            "highest": float(self._bounds[1]),
            "sqnr_db": self._decibels(self._noise),
            "local_sqnr_db": self._decibels(self._local_noise),
        }

    def _decibels(self, noise):
        if not noise:
            return math.inf
        return float(10.0 * np.log10(max(self._signal, 1e-300) / noise))


class _CutGraph:
    """A file in which every operator reads inputs of the graph.

    Args:
        model: content of a .tflite with one signature.
        origins: of the tensors at which to cut.
        num_threads: of the interpreter.
    """

    def __init__(self, model, origins, num_threads):
        content = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
        for buffer in content.buffers:
            if buffer.data is not None:
                # Of a bytearray each byte would be packed by Python.
                buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
        (graph,) = content.subgraphs
        self._inputs = [int(i) for i in graph.inputs]
        self._names = {
            tensor.tensorIndex: tensor.name.decode()
            for tensor in content.signatureDefs[0].inputs
        }
        self._given = list(origins)
        copies = {}
        for index in self._given:
            given = copy.copy(graph.tensors[index])
            given.name = given.name + b"/given"
            copies[index] = len(graph.tensors)
            graph.tensors.append(given)
        for operator in graph.operators:
            operator.inputs = np.array(
                [copies.get(int(i), int(i)) for i in operator.inputs], np.int32
            )
        graph.inputs = np.array([*self._inputs, *copies.values()], np.int32)
        graph.outputs = np.array(self._given, np.int32)
        content.signatureDefs = []
        self._interpreter = litert.Interpreter(
            model_content=bytes(
                flatbuffer_utils.convert_object_to_bytearray(content)
            ),
            num_threads=num_threads,
        )
        self._interpreter.allocate_tensors()
        self._details = self._interpreter.get_input_details()

    def run(self, example, values):
        """Returns what each operator computes, by tensor.

        Args:
            example: inputs of the file by signature name.
            values: float32 (or integer, as they are) of the tensors given.
        """
        arrays = [example[self._names[index]] for index in self._inputs]
        arrays += [values[index] for index in self._given]
        for details, array in zip(self._details, arrays, strict=True):
            self._interpreter.set_tensor(
                details["index"], activations.quantize(array, details)
            )
        self._interpreter.invoke()
        return {
            index: self._interpreter.get_tensor(index) for index in self._given
        }


def _origins(graph, reference):
    """Returns {tensor of a file: the tensor of the float32 file it stands for}.

    Tensors behind a conversion, which the float32 file lacks, stand for what
    is converted. Left out is what depends on no input, such as unpacked
    weights, and what the float32 file does not compute.
    """
    origins = {}
    varying = set(graph.inputs)
    for operator in graph.operators:
        if varying.isdisjoint(operator.inputs):
            continue
        varying.update(operator.outputs)
        for index in operator.outputs:
            name = graph.tensors[index].name
            if name in reference.indices:
                origins[index] = reference.indices[name]
            elif operator.name in model_file.CONVERSIONS:
                origin = origins.get(operator.inputs[0])
                if origin is not None:
                    origins[index] = origin
    return origins


def _is_real_number(details):
    return details["quantization"][0] or details["dtype"] == np.float32
