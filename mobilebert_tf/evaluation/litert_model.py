"""Runs a .tflite file: of this project, or of another converter."""

import os
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import interpreter as litert

from mobilebert_tf import cli
from mobilebert_tf.evaluation import model_form

_SIGNATURE = "serving_default"
# A FlatBuffer names its schema after the offset of its root.
_IDENTIFIER = slice(4, 8), b"TFL3"


class LiteRtModel(model_form.ModelForm):
    """A .tflite file in LiteRT's interpreter.

    Inputs and outputs go by the names of its signature, without one by those
    of its tensors. Inputs may be integers, floats, or quantized.

    Example:

        model = LiteRtModel("/tmp/export/model_int8.tflite")
        model.run(inputs, ["probabilities"])

    Args:
        path: of the file.
        num_threads: of the interpreter.

    Raises:
        ValueError: if the file is no .tflite, is damaged, or takes other
            inputs than BERT's.
    """

    def __init__(self, path: str, num_threads: int = 1):
        self.name = path
        _check_identifier(path)
        try:
            self._interpreter = litert.Interpreter(
                model_path=path, num_threads=num_threads
            )
            # XNNPACK can refuse a file here, for extreme scales, instead of
            # leaving the operator to the built-in kernels.
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{path}: LiteRT cannot load it: {cli.one_line(error)}"
            ) from error
        self._runner = _signature_runner(self._interpreter, path)
        inputs, self._outputs = self._details()
        own_names = model_form.match_inputs(list(inputs), path)
        self._inputs = {name: inputs[own] for name, own in own_names.items()}
        self._own_names = own_names
        self.input_shapes = {
            name: _shape(detail) for name, detail in self._inputs.items()
        }
        self.output_shapes = {
            name: _shape(detail) for name, detail in self._outputs.items()
        }

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        feed = {
            name: _quantize(inputs[name], detail, f"{self.name}: {name}")
            for name, detail in self._inputs.items()
        }
        try:
            values = self._invoke(feed)
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{self.name}: LiteRT cannot run it: {cli.one_line(error)}"
            ) from error
        return {
            name: _dequantize(values[name], self._outputs[name])
            for name in outputs
        }

    def _details(self):
        """Returns what LiteRT says of the inputs and of the outputs."""
        if self._runner is not None:
            return (
                self._runner.get_input_details(),
                self._runner.get_output_details(),
            )
        return (
            _by_name(self._interpreter.get_input_details()),
            _by_name(self._interpreter.get_output_details()),
        )

    def _invoke(self, feed):
        if self._runner is not None:
            return self._runner(
                **{self._own_names[name]: feed[name] for name in feed}
            )
        for name, value in feed.items():
            index = self._inputs[name]["index"]
            self._interpreter.resize_tensor_input(index, value.shape)
        self._interpreter.allocate_tensors()
        for name, value in feed.items():
            self._interpreter.set_tensor(self._inputs[name]["index"], value)
        self._interpreter.invoke()
        return {
            name: self._interpreter.get_tensor(detail["index"])
            for name, detail in self._outputs.items()
        }


def _check_identifier(path):
    if not os.path.isfile(path):
        kind = "a directory" if os.path.isdir(path) else "no such file"
        raise ValueError(f"{path}: expected a .tflite file, got {kind}")
    place, identifier = _IDENTIFIER
    with open(path, "rb") as stream:
        start = stream.read(place.stop)
    if start[place] != identifier:
        raise ValueError(
            f"{path}: expected a .tflite file, got one that starts with "
            f"{start!r}"
        )


def _signature_runner(interpreter, path):
    """Returns the runner of the signature, None if there is none."""
    names = list(interpreter.get_signature_list())
    if not names:
        return None
    if _SIGNATURE not in names and len(names) > 1:
        raise ValueError(
            f"{path}: got signatures {', '.join(names)}; expected "
            f"{_SIGNATURE}, or only one"
        )
    name = _SIGNATURE if _SIGNATURE in names else names[0]
    return interpreter.get_signature_runner(name)


def _by_name(details):
    """Returns details by plain names, by whole ones if those are not enough."""
    plain = {model_form.plain_name(each["name"]): each for each in details}
    if len(plain) == len(details):
        return plain
    return {each["name"]: each for each in details}


def _shape(detail):
    return tuple(
        None if size < 0 else int(size) for size in detail["shape_signature"]
    )


def _quantize(ids, detail, place):
    """Returns ids in the type that the model takes them in."""
    scale, zero_point = detail["quantization"]
    dtype = detail["dtype"]
    values = np.round(ids / scale) + zero_point if scale else ids
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise ValueError(
                f"{place}: got ids up to {ids.max()}, the model takes them as "
                f"{np.dtype(dtype).name}"
            )
    return values.astype(dtype)


def _dequantize(values, detail):
    scale, zero_point = detail["quantization"]
    values = values.astype(np.float32)
    return (values - zero_point) * np.float32(scale) if scale else values
