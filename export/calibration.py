"""Ranges of a float model's tensors over real inputs."""

import warnings
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np
from ai_edge_litert import interpreter as litert

from export import model_file

# The shape in which ai-edge-quantizer keeps a tensor's range.
_RANGE_SHAPE = (1, 1)
# Ops that move values without changing them, so that their output has the
# scale of their input.
MOVING_OPS = ("RESHAPE", "TRANSPOSE", "STRIDED_SLICE")


def choose_examples(
    num_examples: int, num_wanted: int, seed: int
) -> np.ndarray:
    """Returns the indices of the calibration examples, int64, sorted.

    Args:
        num_examples: how many there are.
        num_wanted: how many to take; all of them if there are fewer.
        seed: the same seed chooses the same examples.

    Raises:
        ValueError: if num_wanted is not positive or there are no examples.
    """
    if num_wanted < 1:
        raise ValueError(
            f"calibration_examples: expected at least 1, got {num_wanted}"
        )
    if num_examples < 1:
        raise ValueError("calibration: expected examples, got none")
    order = np.random.default_rng(seed).permutation(num_examples)
    return np.sort(order[:num_wanted])


def single_rows(
    inputs: Mapping[str, np.ndarray],
) -> Iterator[dict[str, np.ndarray]]:
    """Yields inputs int32 [1, S], one after another.

    Args:
        inputs: int32 [N, S] by name, or [N, C, S] of C choices.
    """
    flat = {
        name: ids.reshape(-1, ids.shape[-1]) for name, ids in inputs.items()
    }
    for i in range(len(next(iter(flat.values())))):
        yield {name: ids[i : i + 1] for name, ids in flat.items()}


def collect_ranges(
    float_model: bytes,
    examples: Iterable[dict[str, np.ndarray]],
    num_threads: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, dict[str, np.ndarray]]:
    """Runs `float_model` and records each tensor's smallest and largest value.

    Args:
        float_model: a float32 .tflite with one signature.
        examples: inputs by signature name, as the model takes them.
        num_threads: of the interpreter.
        progress: called with the number of examples done.

    Returns:
        {tensor name: {"min": float32 [1, 1], "max": float32 [1, 1]}}, the form
        ai-edge-quantizer reads, for what the operators compute and for the
        embedding tables, whose whole range counts: calibration sees few of
        their rows. Rows of padding do not count: nothing reads what they
        give, and real positions would pay for their range. Keys and values,
        the right-hand sides of products, get a range whose zero point is 0.

    Raises:
        ValueError: if there are no examples, or a tensor is not finite.
    """
    with warnings.catch_warnings():
        # It warns that keeping all tensors takes memory, which is the point.
        warnings.simplefilter("ignore", UserWarning)
        interpreter = litert.Interpreter(
            model_content=float_model,
            num_threads=num_threads,
            experimental_preserve_all_tensors=True,
        )
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner()
    graph = model_file.ModelFile(float_model)
    bounds = {name: [np.inf, -np.inf] for name in graph.float_activations()}
    indices = {
        detail["name"]: detail["index"]
        for detail in interpreter.get_tensor_details()
        if detail["name"] in bounds
    }
    done = 0
    for done, example in enumerate(examples, 1):
        run(**example)
        is_real = example["input_mask"][0] == 1  # [S]
        for name, index in indices.items():
            values = interpreter.get_tensor(index)
            if not np.all(np.isfinite(values)):
                raise ValueError(
                    f"calibration: tensor {name!r} is not finite in example "
                    f"{done}: expected a model whose float32 form works"
                )
            values = _real_positions(values, is_real)
            bound = bounds[name]
            bound[0] = min(bound[0], values.min())
            bound[1] = max(bound[1], values.max())
        progress(done)
    if not done:
        raise ValueError("calibration: expected examples, got none")
    for name, table in graph.gathered_tables().items():
        bounds[name] = [table.min(), table.max()]
    for name in _right_hand_sides(graph):
        bounds[name] = _symmetric(*bounds[name])
    return as_statistics(bounds)


def as_statistics(
    bounds: Mapping[str, tuple[float, float]],
) -> dict[str, dict[str, np.ndarray]]:
    """Returns ranges in the form that ai-edge-quantizer reads.

    Args:
        bounds: smallest and largest value by the name of a tensor.
    """
    return {
        name: {
            "min": np.full(_RANGE_SHAPE, lowest, np.float32),
            "max": np.full(_RANGE_SHAPE, highest, np.float32),
        }
        for name, (lowest, highest) in bounds.items()
    }


def _real_positions(values, is_real):
    """Leaves out the rows of padding, where there is a row per position."""
    has_rows = values.ndim > 1 and values.shape[-2] == len(is_real)
    if not has_rows or not is_real.any():
        return values
    return values[..., is_real, :]


def _right_hand_sides(graph):
    """Names of the computed tensors that a BATCH_MATMUL multiplies by.

    XNNPACK takes an int8 BATCH_MATMUL only if the zero point of its right-hand
    side is 0.
    """
    producers = {op.outputs[0]: op for op in graph.operators}
    names = set()
    for op in graph.operators:
        if op.name == "BATCH_MATMUL":
            producer = producers[op.inputs[1]]
            while producer.name in MOVING_OPS:
                producer = producers[producer.inputs[0]]
            names.add(graph.tensors[producer.outputs[0]].name)
    return sorted(names)


def _symmetric(lowest, highest):
    """Widens a range so that the int8 zero point, -128 to 127, is 0."""
    bound = max(abs(lowest), abs(highest))
    return [bound * -128 / 127, bound]
