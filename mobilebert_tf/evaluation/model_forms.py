"""The forms that a model is evaluated in, and what tells them apart.

Keras model           an object
folder of a model     model_directory's files, newest checkpoint
SavedModel            saved_model.pb and its variables
.tflite               run by LiteRT, see litert_model
"""

import os
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from mobilebert_tf import cli
from mobilebert_tf import model_directory
from mobilebert_tf.evaluation import litert_model
from mobilebert_tf.evaluation import model_form

_SIGNATURE = "serving_default"
_SAVED_MODEL_FILE = "saved_model.pb"
# What loading a damaged SavedModel raises, by the file that is damaged.
_LOAD_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    tf.errors.OpError,
)


def load(path: str, num_threads: int = 1) -> model_form.ModelForm:
    """Loads a model of any form.

    Args:
        path: a .tflite file, a SavedModel, or the folder of a model.
        num_threads: of LiteRT.

    Raises:
        ValueError: if there is no model, or a damaged one, in one line.
    """
    if os.path.isfile(path):
        return litert_model.LiteRtModel(path, num_threads)
    if os.path.isfile(os.path.join(path, _SAVED_MODEL_FILE)):
        return SavedModel(path)
    if os.path.isfile(os.path.join(path, model_directory.CONFIG_FILE)):
        return KerasModel(model_directory.load(path).model, path)
    kind = "a folder without them" if os.path.isdir(path) else "nothing there"
    raise ValueError(
        f"{path}: expected a .tflite file, a SavedModel "
        f"({_SAVED_MODEL_FILE}) or a model's folder "
        f"({model_directory.CONFIG_FILE}), got {kind}"
    )


class KerasModel(model_form.ModelForm):
    """A Keras model that takes and returns dicts.

    Args:
        model: of modeling.models, or one that is called like them.
        name: in messages.
    """

    def __init__(self, model: tf_keras.Model, name: str = ""):
        self.name = name or type(model).__name__
        # Only what is asked for leaves the graph, not all hidden states.
        self._call = tf.function(
            lambda batch, outputs: _select(
                model(batch, training=False), outputs, self.name
            ),
            autograph=False,
        )

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        return _run_graph(self._call, inputs, outputs, self.name)


class SavedModel(model_form.ModelForm):
    """A SavedModel with a signature serving_default.

    Args:
        path: of the folder.

    Raises:
        ValueError: if it is damaged, has no such signature, or takes other
            inputs than BERT's.
    """

    def __init__(self, path: str):
        self.name = path
        try:
            # Kept: a signature does not keep the model's variables.
            self._model = tf.saved_model.load(path)
        except _LOAD_ERRORS as error:
            raise ValueError(
                f"{path}: not a whole SavedModel: {cli.one_line(error)}"
            ) from error
        signatures = self._model.signatures
        if _SIGNATURE not in signatures:
            raise ValueError(
                f"{path}: expected a signature {_SIGNATURE}, got "
                f"{', '.join(signatures) or 'none'}"
            )
        self._signature = signatures[_SIGNATURE]
        specs = self._signature.structured_input_signature[1]
        own_names = model_form.match_inputs(list(specs), path)
        self._specs = {name: specs[own] for name, own in own_names.items()}
        self._own_names = own_names
        self.input_shapes = {
            name: _shape(spec) for name, spec in self._specs.items()
        }
        self.output_shapes = {
            name: _shape(spec)
            for name, spec in self._signature.structured_outputs.items()
        }

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        feed = {
            self._own_names[name]: tf.cast(inputs[name], spec.dtype)
            for name, spec in self._specs.items()
        }
        return _run_graph(
            lambda batch, names: _select(
                self._signature(**batch), names, self.name
            ),
            feed,
            outputs,
            self.name,
        )


def _run_graph(function, inputs, outputs, name):
    """Calls a TensorFlow function of a dict; see ModelForm.run."""
    batch = {key: tf.convert_to_tensor(ids) for key, ids in inputs.items()}
    try:
        values = function(batch, tuple(outputs))
    except tf.errors.OpError as error:
        raise ValueError(
            f"{name}: cannot run it: {cli.one_line(error)}"
        ) from error
    return {
        output: tf.cast(value, tf.float32).numpy()
        for output, value in values.items()
    }


def _select(values, outputs, name):
    missing = [output for output in outputs if output not in values]
    if missing:
        raise ValueError(
            f"{name}: got outputs {', '.join(sorted(values))}; expected one "
            f"named {missing[0]}"
        )
    return {output: values[output] for output in outputs}


def _shape(spec):
    return tuple(spec.shape.as_list())
