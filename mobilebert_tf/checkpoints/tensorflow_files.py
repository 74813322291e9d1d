"""TensorFlow checkpoint files: finding, opening, walking the object graph."""

import contextlib
import glob
import os
import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_SAVE_COUNTER = "save_counter"
_ENDING = re.compile(r"\.(index|data-\d{5}-of-\d{5})$")


def find_prefix(path: str) -> str:
    """Returns the prefix of the checkpoint at `path`.

    Args:
        path: a prefix, one of its files, or a folder. Of several checkpoints
            in a folder the one that its file `checkpoint` names is taken.

    Raises:
        ValueError: if there is none, or several; they are listed.
    """
    given = path
    path = _ENDING.sub("", path)
    if os.path.isfile(f"{path}.index"):
        return path
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    indices = glob.glob(os.path.join(glob.escape(folder), "*.index"))
    present = sorted(index.removesuffix(".index") for index in indices)
    shown = ", ".join(os.path.basename(prefix) for prefix in present)
    if not os.path.isdir(path):
        there = f"its folder has {shown}" if present else "no such file"
        raise ValueError(
            f"--input={given}: no checkpoint ({path}.index) found: {there}"
        )
    if not present:
        raise ValueError(f"--input={path}: no checkpoint (*.index) found")
    newest = _newest(path)
    if newest in present:
        return newest
    if len(present) > 1:
        raise ValueError(
            f"--input={path}: several checkpoints, give one: {shown}"
        )
    return present[0]


def _newest(folder):
    """Returns what the file `checkpoint` names, as a file of this folder.

    The folder may have been moved since.
    """
    state = tf.train.get_checkpoint_state(folder)
    name = state.model_checkpoint_path if state else ""
    return os.path.join(folder, os.path.basename(name))


@contextlib.contextmanager
def readable(prefix: str) -> Iterator[None]:
    """Turns what TensorFlow raises on damaged files into a ValueError."""
    try:
        yield
    except (IndexError, RuntimeError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{prefix}: not a whole checkpoint: {reason}"
        ) from error


class Reader:
    """The variables of a checkpoint, by their names in the file.

    Args:
        prefix: of the checkpoint files.

    Raises:
        ValueError: if the files are damaged.
    """

    def __init__(self, prefix: str):
        self.prefix = prefix
        with readable(prefix):
            self._reader = tf.train.load_checkpoint(prefix)
            shapes = self._reader.get_variable_to_shape_map()
        self.is_object_based = OBJECT_GRAPH_KEY in shapes
        self.shapes = {
            name: tuple(shape)
            for name, shape in shapes.items()
            if name != OBJECT_GRAPH_KEY
        }

    def read(self, name: str) -> np.ndarray:
        """Returns the value of a variable."""
        with readable(self.prefix):
            return self._reader.get_tensor(name)

    def object_graph(self) -> "ObjectGraph":
        """Returns the graph of the objects that were saved."""
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        graph.ParseFromString(self.read(OBJECT_GRAPH_KEY))
        return ObjectGraph(graph)


class ObjectGraph:
    """Objects of a TF2 checkpoint: nodes by number, 0 is the root.

    A variable that several objects share is stored once, under a key that
    depends on which of them was met first; edges lead to it from all.
    """

    def __init__(self, graph):
        self._nodes = graph.nodes

    def children(self, node: int) -> dict[str, int]:
        """Returns the edges of `node`: from name to node."""
        return {
            child.local_name: child.node_id
            for child in self._nodes[node].children
        }

    def follow(self, path: str, start: int = 0) -> int | None:
        """Returns the node at `path`, None if there is no such path.

        ".S" within a part of the path stands for a slash.
        """
        node = start
        for part in path.split("/"):
            node = self.children(node).get(part.replace(".S", "/"))
            if node is None:
                return None
        return node

    def key(self, node: int) -> str | None:
        """Returns the checkpoint key of a variable, None for other nodes."""
        for attribute in self._nodes[node].attributes:
            if attribute.checkpoint_key.endswith(_VALUE_SUFFIX):
                return attribute.checkpoint_key
        return None

    def walk(self, start: int = 0) -> dict[int, str]:
        """Returns from each node below `start` to its shortest path."""
        paths, queue = {start: ""}, [start]
        for node in queue:
            for name, child in self.children(node).items():
                if child not in paths:
                    paths[child] = f"{paths[node]}/{name}".removeprefix("/")
                    queue.append(child)
        return paths


def bookkeeping_kind(name: str) -> str | None:
    """Returns the kind of a training variable, by its checkpoint key."""
    if ".OPTIMIZER_SLOT" in name or name.startswith("optimizer"):
        return "optimizer state"
    if name.split("/", 1)[0] in (_SAVE_COUNTER, "global_step", "iterations"):
        return "step counters"
    return None
