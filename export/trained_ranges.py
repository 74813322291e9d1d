"""The ranges that quantisation-aware training has found, for a file's tensors.

Training names activations as the deployment graph does: by the scopes of the
operators that compute them. The converter fuses operators and joins their
names by ";", so that a tensor of the file is the activation with whose name
one of the joined ones begins.
"""

from collections.abc import Mapping

import numpy as np

from export import calibration
from export import model_file
from mobilebert_tf.quantization_aware import ranges as ranges_lib

# Factors that have become 1 leave no operator.
_MAY_BE_ABSENT = "_residual"


def ranges_for(
    float_model: bytes, trained: Mapping[str, ranges_lib.Range]
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the ranges of a file's tensors, in place of calibration.

    Args:
        float_model: the float32 .tflite of the model, without bases.
        trained: what `quantization_aware.ranges.read` returns of the model's
            checkpoint.

    Returns:
        As calibration.collect_ranges.

    Raises:
        ValueError: if a range has no tensor in the file, or several.
    """
    graph = model_file.ModelFile(float_model)
    tensors = {}
    for name in graph.float_activations():
        for activation in _begins_with(name) & trained.keys():
            tensors.setdefault(activation, []).append(name)
    bounds = {}
    for activation, (low, high) in trained.items():
        found = tensors.get(activation, [])
        if activation in found:
            found = [activation]
        if not found and activation.endswith(_MAY_BE_ABSENT):
            continue
        if len(found) != 1:
            raise ValueError(
                f"trained range {activation!r}: expected one tensor of the "
                f"file, got {', '.join(found) or 'none'}"
            )
        bounds[found[0]] = low, high
    for name, table in graph.gathered_tables().items():
        bounds[name] = table.min(), table.max()
    # The quantiser asks for it, and then takes the fixed range of int8.
    for operator in graph.operators:
        if operator.name == "TANH":
            bounds[graph.tensors[operator.outputs[0]].name] = -1.0, 1.0
    # Ops that move values, and those of a table's rows, keep the range.
    for operator in graph.operators:
        if operator.name in (*calibration.MOVING_OPS, "GATHER"):
            source, *_ = operator.inputs
            (target,) = operator.outputs
            source, target = graph.tensors[source], graph.tensors[target]
            if source.name in bounds:
                bounds[target.name] = bounds[source.name]
    return calibration.as_statistics(bounds)


def _begins_with(name):
    """Returns all names of activations that a tensor's name may stand for."""
    names = set()
    for part in name.split(";"):
        scopes = part.split("/")
        names |= {"/".join(scopes[: i + 1]) for i in range(len(scopes))}
    return names
