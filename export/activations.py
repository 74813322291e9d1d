"""All that a .tflite computes on an example, tensor by tensor.

Legend: S sequence, N heads, R rows computed.
"""

import warnings
from collections.abc import Mapping

import numpy as np
from ai_edge_litert import interpreter as litert

from export import model_file

# Between a product of queries and keys, the mask and the context.
_SCORE_OPS = (
    "ADD",
    "CAST",
    "DEQUANTIZE",
    "MUL",
    "QUANTIZE",
    "RESHAPE",
    "SOFTMAX",
    "SUB",
)


class Activations:
    """Runs a file and keeps every tensor.

    Args:
        content: of a .tflite with one signature.
        num_threads: of the interpreter.

    Attributes:
        graph: model_file.ModelFile of the content.
        indices: {name: index} of the tensors that operators compute.
        formats: interpreter's details of each tensor, by index.
        scores: indices of attention scores and probabilities.
        is_real: bool [S], the real positions of the example that was run.
    """

    def __init__(self, content: bytes, num_threads: int = 1):
        with warnings.catch_warnings():
            # It warns that keeping all tensors takes memory: it is the point.
            warnings.simplefilter("ignore", UserWarning)
            self._interpreter = litert.Interpreter(
                model_content=content,
                num_threads=num_threads,
                experimental_preserve_all_tensors=True,
            )
        self._interpreter.allocate_tensors()
        self._run = self._interpreter.get_signature_runner()
        self.graph = model_file.ModelFile(content)
        self.indices = {
            self.graph.tensors[index].name: index
            for operator in self.graph.operators
            for index in operator.outputs
        }
        self.formats = {
            details["index"]: details
            for details in self._interpreter.get_tensor_details()
        }
        self.scores = _score_tensors(self.graph)
        self.is_real = None

    def run(self, example: Mapping[str, np.ndarray]) -> None:
        """Computes all tensors of an example.

        Args:
            example: int32 [1, S] by name, as the signature takes them.

        Raises:
            ValueError: if it is all padding.
        """
        self.is_real = example["input_mask"][0] == 1
        if not self.is_real.any():
            raise ValueError(
                "expected examples with a token, got padding alone"
            )
        self._run(**example)

    def raw(self, index: int) -> np.ndarray:
        """Returns a tensor as the file has it, padding included."""
        return self._interpreter.get_tensor(index)

    def real(self, index: int, values: np.ndarray) -> np.ndarray:
        """Leaves out of a tensor what belongs to padding.

        Args:
            index: of the tensor in this file.
            values: its values, of this file or of another: [..., S, width]
                has a row per position, attention scores [N, R, S] a column.
        """
        length = len(self.is_real)
        if has_rows(values, length):
            values = values[..., self.is_real, :]
        if index in self.scores and values.shape[-1] == length:
            values = values[..., self.is_real]
        return values


def has_rows(values: np.ndarray, length: int) -> bool:
    """Returns whether a tensor has a row for each of `length` positions."""
    return values.ndim > 1 and values.shape[-2] == length


def dequantize(values: np.ndarray, details: Mapping) -> np.ndarray:
    """Returns float32 values of a tensor, which may be float already.

    Args:
        values: as the file has them.
        details: of the tensor, as the interpreter tells them.
    """
    scale, zero_point = details["quantization"]
    if not scale:
        return values.astype(np.float32)
    return (values.astype(np.float32) - zero_point) * np.float32(scale)


def quantize(values: np.ndarray, details: Mapping) -> np.ndarray:
    """Returns values in the number format of a tensor, the other way round."""
    scale, zero_point = details["quantization"]
    dtype = details["dtype"]
    if scale:
        limits = np.iinfo(dtype)
        values = np.clip(
            np.round(values / np.float32(scale)) + zero_point,
            limits.min,
            limits.max,
        )
    return values.astype(dtype)


def _score_tensors(graph):
    """Returns the tensors from the product of queries and keys to softmax."""
    producers = {op.outputs[0]: op for op in graph.operators}
    scores = set()
    wanted = []
    for operator in graph.operators:
        shape = graph.tensors[operator.outputs[0]].shape
        if operator.name == "SOFTMAX" and len(shape) > 2:
            wanted.append(operator.outputs[0])
        elif operator.name == "QUANTIZE" and operator.inputs[0] in scores:
            scores.update(operator.outputs)
        while wanted:
            index = wanted.pop()
            if index in scores or index not in producers:
                continue
            scores.add(index)
            if producers[index].name in _SCORE_OPS:
                wanted += producers[index].inputs
    return scores
