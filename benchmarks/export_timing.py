r"""Times one .tflite file in this process, and tells where its ops run.

    python -m benchmarks.export_timing --model=model.tflite --cores=1

Prints one line of JSON. A process for each measurement: LiteRT packs weights
and places buffers anew, so that no file keeps a lucky or an unlucky layout.
Imports no TensorFlow: starting takes 0.3 s.
"""

import collections
import json
import os
import time

import numpy as np
from absl import flags
from ai_edge_litert import interpreter as litert

from mobilebert_tf import cli

_LARGEST_ID = 1000


def make_input(name: str, shape, dtype) -> np.ndarray:
    """Returns a full sequence of random tokens, or of random numbers."""
    generator = np.random.default_rng(0)
    if not np.issubdtype(dtype, np.integer):
        return generator.normal(size=shape).astype(dtype)
    if "mask" in name:
        return np.ones(shape, dtype)
    if "type" in name:
        return np.zeros(shape, dtype)
    return generator.integers(0, _LARGEST_ID, shape).astype(dtype)


def measure(path: str, num_threads: int, num_runs: int) -> dict:
    """Runs a file.

    Args:
        path: of the file.
        num_threads: of the interpreter.
        num_runs: how many are timed; two more come first.

    Returns:
        "milliseconds": of each run; "partitions": how many the delegate took;
        "left_out": {operator: how many} that it did not.
    """
    interpreter = litert.Interpreter(model_path=path, num_threads=num_threads)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        value = make_input(detail["name"], detail["shape"], detail["dtype"])
        interpreter.set_tensor(detail["index"], value)
    for _ in range(2):
        interpreter.invoke()
    milliseconds = []
    for _ in range(num_runs):
        begin = time.perf_counter()
        interpreter.invoke()
        milliseconds.append(1e3 * (time.perf_counter() - begin))
    return {"milliseconds": milliseconds, **delegation(interpreter)}


def delegation(interpreter) -> dict:
    """Returns "partitions" and "left_out" of an allocated interpreter.

    The operators that run are found from the outputs backwards: those that a
    partition replaces are still listed.
    """
    producers = {}
    partitions = set()
    # Delegates' nodes come last, and so replace the operators' own entries.
    for node in interpreter._get_ops_details():
        if node["op_name"] == "DELEGATE":
            partitions.add(node["index"])
        producers.update(dict.fromkeys(node["outputs"].tolist(), node))
    needed = [each["index"] for each in interpreter.get_output_details()]
    left_out = {}
    while needed:
        node = producers.get(needed.pop())
        if node is None or node["index"] in left_out:
            continue
        left_out[node["index"]] = node["op_name"]
        needed += node["inputs"].tolist()
    names = (
        name for index, name in left_out.items() if index not in partitions
    )
    return {
        "partitions": len(partitions),
        "left_out": collections.Counter(names),
    }


def main(argv):
    del argv
    if flags.FLAGS.cores:
        os.sched_setaffinity(0, map(int, flags.FLAGS.cores))
    print(
        json.dumps(
            measure(
                flags.FLAGS.model,
                flags.FLAGS.num_threads,
                flags.FLAGS.num_runs,
            )
        )
    )


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_string("model", None, "The .tflite file.", required=True)
    flags.DEFINE_list("cores", [], "Cores to run on; all by default.")
    flags.DEFINE_integer("num_threads", 1, "Of the interpreter.")
    flags.DEFINE_integer("num_runs", 3, "How many are timed.")


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
