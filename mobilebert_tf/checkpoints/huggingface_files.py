"""Tensors of Hugging Face's files: safetensors, or torch's without code."""

import json
import os
import pickle

import ml_dtypes  # noqa: F401  numpy has no bfloat16 of its own
import numpy as np
import safetensors

from mobilebert_tf import files

WEIGHTS_FILE = "model.safetensors"
_TORCH_FILE = "pytorch_model.bin"
_INDEX_SUFFIX = ".index.json"
_SAFETENSORS_SUFFIX = ".safetensors"
SUFFIXES = (_SAFETENSORS_SUFFIX, ".bin")


def find(path: str) -> list[str]:
    """Returns the files with the weights of a folder or of a file itself.

    Raises:
        ValueError: if there are none, or an index does not name files.
    """
    if not os.path.isdir(path):
        return [files.require_file(path, "input")]
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
        self.shapes = {}
        for path in paths:
            if path.endswith(_SAFETENSORS_SUFFIX):
                self._open_safetensors(path)
            else:
                self._open_torch(path)

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor."""
        return self._readers[name](name)

    def _open_safetensors(self, path):
        try:
            # Kept open: the tensors are read from it later.
            handle = safetensors.safe_open(path, framework="np")
        except safetensors.SafetensorError as error:
            raise ValueError(
                f"{path}: not a whole safetensors file: {error}"
            ) from error
        for name in handle.keys():
            self._readers[name] = handle.get_tensor
            self.shapes[name] = tuple(handle.get_slice(name).get_shape())

    def _open_torch(self, path):
        torch = _import_torch(path)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{path}: not a whole file of plain tensors: {reason}"
            ) from error
        if not isinstance(state, dict):
            raise ValueError(
                f"{path}: expected a dict of tensors, got "
                f"{type(state).__name__}"
            )
        for name, tensor in state.items():
            if not isinstance(tensor, torch.Tensor):
                raise ValueError(
                    f"{path}: {name}: expected a tensor, got "
                    f"{type(tensor).__name__}"
                )
            self.shapes[name] = tuple(tensor.shape)
            self._readers[name] = lambda name: _to_numpy(torch, state[name])


def _shards(folder, index):
    with open(index, encoding="utf-8") as stream:
        try:
            shards = sorted(set(json.load(stream)["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{index}: expected a JSON object with weight_map: {error}"
            ) from error
    paths = [os.path.join(folder, os.path.basename(name)) for name in shards]
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


def _to_numpy(torch, tensor):
    if tensor.dtype == torch.bfloat16:  # numpy has none
        bits = tensor.view(torch.uint16).numpy()
        return bits.view(ml_dtypes.bfloat16)
    return tensor.numpy()
