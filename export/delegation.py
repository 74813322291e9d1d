"""What of a .tflite file XNNPACK runs, the fast kernels of every runtime."""

import collections
import dataclasses

from ai_edge_litert import interpreter as litert

# What LiteRT names the node that stands for a partition.
_PARTITION = "DELEGATE"


@dataclasses.dataclass(frozen=True)
class Delegation:
    """How LiteRT divides a file's operators.

    Each border between XNNPACK and the interpreter's own kernels costs a copy;
    operators that are left out run on one thread, many of them slowly.

    Attributes:
        partitions: stretches of operators that XNNPACK runs.
        left_out: {operator name: count} of what it does not run, by name.
    """

    partitions: int
    left_out: dict[str, int]

    @property
    def num_left_out(self) -> int:
        return sum(self.left_out.values())


def delegation(
    path_or_content: str | bytes, num_threads: int = 1
) -> Delegation:
    """Loads a file as an app does and tells what XNNPACK runs of it.

    Args:
        path_or_content: path or content of a .tflite file.
        num_threads: of the interpreter.

    Raises:
        ValueError: if LiteRT cannot load the file or prepare it to run. There
            are files, with extreme scales, that XNNPACK first accepts and
            then fails on; no app can run them either.
    """
    is_path = isinstance(path_or_content, str)
    source = "model_path" if is_path else "model_content"
    try:
        interpreter = litert.Interpreter(
            **{source: path_or_content}, num_threads=num_threads
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        # LiteRT puts its messages one after the other without a space.
        reason = "; Node".join(" ".join(str(error).split()).split("Node"))
        name = path_or_content if is_path else "model"
        raise ValueError(
            f"{name}: LiteRT cannot prepare it: {reason}"
        ) from error
    return of_interpreter(interpreter)


def of_interpreter(interpreter: litert.Interpreter) -> Delegation:
    """Returns the Delegation of an interpreter with allocated tensors."""
    nodes = interpreter._get_ops_details()
    # A partition comes on top of the nodes that it stands for: they are found
    # from its outputs backwards to its inputs.
    partitions = [node for node in nodes if node["op_name"] == _PARTITION]
    operators = [node for node in nodes if node["op_name"] != _PARTITION]
    producers = {
        tensor: node for node in operators for tensor in _tensors(node, True)
    }
    taken = set()
    for partition in partitions:
        borders = set(_tensors(partition, False))
        wanted = _tensors(partition, True)
        while wanted:
            tensor = wanted.pop()
            node = producers.get(tensor)
            if tensor in borders or node is None or node["index"] in taken:
                continue
            taken.add(node["index"])
            wanted += _tensors(node, False)
    left_out = collections.Counter(
        node["op_name"] for node in operators if node["index"] not in taken
    )
    return Delegation(len(partitions), dict(sorted(left_out.items())))


def _tensors(node, outputs):
    indices = node["outputs" if outputs else "inputs"]
    return [int(index) for index in indices]
