"""Tensors of Hugging Face's files: safetensors, or torch's without code."""

import os
import re

import ml_dtypes  # noqa: F401  numpy has no bfloat16 of its own
import numpy as np
import safetensors

from mobilebert_tf import files
from mobilebert_tf.checkpoints import beside

WEIGHTS_FILE = "model.safetensors"
_TORCH_FILE = "pytorch_model.bin"
_INDEX_SUFFIX = ".index.json"
_SAFETENSORS_SUFFIX = ".safetensors"
_WEIGHTS_SUFFIXES = (_SAFETENSORS_SUFFIX, ".bin")
SUFFIXES = (
    *_WEIGHTS_SUFFIXES,
    *(suffix + _INDEX_SUFFIX for suffix in _WEIGHTS_SUFFIXES),
)
_SHARD = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.\w+$")


def find(path: str) -> list[str]:
    """Returns the files with the weights of a folder, index or file itself.

    Raises:
        ValueError: if there are none, if an index does not name files, or if
            the file is one of several.
    """
    if not os.path.isdir(path):
        files.require_file(path, "input")
        if path.endswith(_INDEX_SUFFIX):
            return _shards(os.path.dirname(path), path)
        if _SHARD.search(path):
            raise ValueError(
                f"--input={path}: one of several files; give their folder"
            )
        return [path]
    for name in (WEIGHTS_FILE, _TORCH_FILE):
        whole = os.path.join(path, name)
        if os.path.isfile(whole):
            return [whole]
        if os.path.isfile(whole + _INDEX_SUFFIX):
            return _shards(path, whole + _INDEX_SUFFIX)
    raise ValueError(
        f"--input={path}: no {WEIGHTS_FILE} or {_TORCH_FILE} found"
    )


class Tensors:
    """The tensors of some files, read one by one.

    Torch's files are read by torch's own reader of plain tensors, which
    executes nothing that is in them.

    Raises:
        ValueError: if a file is damaged, or holds anything but tensors.
    """

    def __init__(self, paths: list[str]):
        self._readers = {}
        self._paths = {}
        self.shapes = {}
        for path in paths:
            if path.endswith(_SAFETENSORS_SUFFIX):
                self._open_safetensors(path)
            else:
                self._open_torch(path)

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor.

        Raises:
            ValueError: if its type is one that numpy has not.
        """
        try:
            return self._readers[name](name)
        except Exception as error:  # pylint: disable=broad-except
            # No list of what the libraries raise would be complete.
            raise ValueError(
                f"{self._paths[name]}: {name} cannot be read: {_reason(error)}"
            ) from error

    def _add(self, path, name, shape, reader):
        self._paths[name] = path
        self._readers[name] = reader
        self.shapes[name] = tuple(shape)

    def _open_safetensors(self, path):
        try:
            # Kept open: the tensors are read from it later.
            handle = safetensors.safe_open(path, framework="np")
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"{path}: not a whole safetensors file: {error}"
            ) from error
        for name in handle.keys():
            shape = handle.get_slice(name).get_shape()
            self._add(path, name, shape, handle.get_tensor)

    def _open_torch(self, path):
        torch = _import_torch(path)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # pylint: disable=broad-except
            # Of a damaged file it raises whatever the damage leads to.
            raise ValueError(
                f"{path}: not a whole file of plain tensors: {_reason(error)}"
            ) from error
        if not isinstance(state, dict):
            raise ValueError(
                f"{path}: expected a dict of tensors, got "
                f"{type(state).__name__}"
            )
        for name, tensor in state.items():
            if not isinstance(name, str):
                raise ValueError(
                    f"{path}: {name!r}: expected the name of a tensor"
                )
            if not isinstance(tensor, torch.Tensor):
                raise ValueError(
                    f"{path}: {name}: expected a tensor, got "
                    f"{type(tensor).__name__}"
                )
            self._add(
                path,
                name,
                tensor.shape,
                lambda name: _to_numpy(torch, state[name].detach()),
            )


def _shards(folder, index):
    try:
        shards = set(beside.read_json(index)["weight_map"].values())
        paths = [
            os.path.join(folder, os.path.basename(name))
            for name in sorted(shards)
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{index}: expected a JSON object with weight_map: {error}"
        ) from error
    for path in paths:
        if not os.path.isfile(path):
            raise ValueError(f"{index}: names {path}, which is absent")
    return paths


def _import_torch(path):
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"{path}: reading it needs PyTorch (pip install torch); a "
            f"{_SAFETENSORS_SUFFIX} file needs nothing"
        ) from error
    return torch


def _reason(error):
    """Returns the kind of an error and the first line of what it says."""
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}".rstrip(": ")


def _to_numpy(torch, tensor):
    if tensor.dtype == torch.bfloat16:  # numpy has none
        bits = tensor.view(torch.uint16).numpy()
        return bits.view(ml_dtypes.bfloat16)
    return tensor.numpy()
