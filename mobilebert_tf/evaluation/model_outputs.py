"""Outputs of a model in any of its forms, on an evaluation set.

What comes out is alike: the outputs that the set scores, by its names, in
float32, logits. So the metrics of all forms come from the same code.

Legend: N rows of the set, B batch, C choices, S sequence.
"""

import numpy as np
import tf_keras

from mobilebert_tf import progress
from mobilebert_tf.evaluation import evaluation_set as evaluation_sets
from mobilebert_tf.evaluation import model_form
from mobilebert_tf.evaluation import model_forms

_LOGITS = "logits"
_PROBABILITIES = "probabilities"
# Sums of probabilities in 8 bits differ so much from 1, for each class.
_SUM_TOLERANCE = 0.01
_LEAST_PROBABILITY = np.finfo(np.float32).tiny


def predict(
    evaluation_set: evaluation_sets.EvaluationSet,
    model: str | tf_keras.Model | model_form.ModelForm,
    batch_size: int = 32,
    num_threads: int = 1,
) -> dict[str, np.ndarray]:
    """Runs a model on all rows of a set.

    Args:
        evaluation_set: rows of inputs, and the names of the outputs.
        model: a path or what model_forms.load makes of it, or a Keras model.
        batch_size: B, if the model leaves it open; it may have its own.
        num_threads: of LiteRT.

    Returns:
        {name: float32 [N, ...]} for evaluation_set.output_names, in the order
        of the rows. Probabilities become logits: their logarithms.

    Raises:
        ValueError: if the model cannot be loaded or run, or does not go with
            the set: in one line that names the model.
    """
    if isinstance(model, str):
        model = model_forms.load(model, num_threads)
    elif isinstance(model, tf_keras.Model):
        model = model_forms.KerasModel(model)
    if not len(evaluation_set):
        raise ValueError(f"{evaluation_set.name}: no rows to run a model on")
    batch_size = min(batch_size, len(evaluation_set))
    runner = _Runner(evaluation_set, model, batch_size)
    starts = range(0, len(evaluation_set), batch_size)
    reporter = progress.Progress(
        f"{evaluation_set.name}, {model.name}", "rows", len(starts)
    )
    parts = []
    for start in starts:
        rows = slice(start, min(start + batch_size, len(evaluation_set)))
        parts.append(runner(rows))
        reporter.add(rows.stop - rows.start)
    return {
        name: runner.finish(
            name, np.concatenate([part[name] for part in parts])
        )
        for name in evaluation_set.output_names
    }


class _Runner:
    """Brings rows of a set to a model, and its outputs to the set."""

    def __init__(self, evaluation_set, model, batch_size):
        self._set = evaluation_set
        self._model = model
        shape = evaluation_set.inputs(slice(0, 1))[model_form.INPUTS[0]].shape
        self._size = batch_size
        # A model of one sequence at a time takes the choices of a row as rows.
        self._choices = 0
        if model.input_shapes is not None:
            wanted = _input_shape(model)
            if len(shape) == 3 and len(wanted) == 2:
                self._choices, shape = shape[1], (shape[0], shape[2])
            self._check_row(wanted[1:], shape[1:])
            self._size = wanted[0] or batch_size * max(1, self._choices)
        self._sources = {
            name: self._source(name) for name in evaluation_set.output_names
        }

    def __call__(self, rows: slice) -> dict[str, np.ndarray]:
        """Returns {name of the set's: float32 [rows, ...]}."""
        inputs = self._set.inputs(rows)
        if self._choices:
            inputs = {
                name: ids.reshape(-1, ids.shape[-1])  # [rows * C, S]
                for name, ids in inputs.items()
            }
        own_names = sorted(set(self._sources.values()))
        count = len(inputs[model_form.INPUTS[0]])
        parts = [
            self._run(
                {
                    name: ids[start : start + self._size]
                    for name, ids in inputs.items()
                },
                own_names,
            )
            for start in range(0, count, self._size)
        ]
        return {
            name: self._by_row(np.concatenate([part[own] for part in parts]))
            for name, own in self._sources.items()
        }

    def finish(self, name: str, values: np.ndarray) -> np.ndarray:
        """Returns an output of all rows as the set scores it.

        Args:
            name: of the set's outputs.
            values: float32 [N, ...].
        """
        own = model_form.plain_name(self._sources[name])
        what = f"{self._model.name}: output {own}"
        finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not finite.all():
            raise ValueError(
                f"{what}: got NaN or infinity in row {np.argmin(finite)} of "
                f"{self._set.name}, expected finite numbers"
            )
        expected = self._set.output_shapes.get(name)
        if expected is not None:
            if _squeezed(values.shape[1:]) != _squeezed(expected):
                raise ValueError(
                    f"{what}: got shape {list(values.shape[1:])} for a row, "
                    f"expected {list(expected)}; was the model trained for "
                    f"the task of {self._set.name}?"
                )
            values = values.reshape(len(values), *expected)
        if name == _LOGITS and (
            own == _PROBABILITIES
            or (own != name and _are_probabilities(values))
        ):
            values = np.log(np.maximum(values, _LEAST_PROBABILITY))
        return values

    def _run(self, inputs, own_names):
        """Runs one batch, padded with copies of its first row."""
        count = len(inputs[model_form.INPUTS[0]])
        padding = [(0, self._size - count)]
        batch = {
            name: np.pad(ids, padding + [(0, 0)] * (ids.ndim - 1), "edge")
            for name, ids in inputs.items()
        }
        outputs = self._model.run(batch, own_names)
        for name, values in outputs.items():
            if values.ndim == 0 or len(values) != self._size:
                raise ValueError(
                    f"{self._model.name}: output {name}: got shape "
                    f"{list(values.shape)} for a batch of {self._size}"
                )
        return {name: values[:count] for name, values in outputs.items()}

    def _by_row(self, values):
        if not self._choices:
            return values
        if values[0].size != 1:
            raise ValueError(
                f"{self._model.name}: got {values[0].size} values for a "
                "choice, expected one score"
            )
        return values.reshape(-1, self._choices)

    def _check_row(self, wanted, given):
        """Raises ValueError if the model takes rows of another shape."""
        if len(wanted) != len(given) or any(
            own not in (None, size)
            for own, size in zip(wanted, given, strict=True)
        ):
            raise ValueError(
                f"{self._model.name}: takes {_row_text(wanted)}, but "
                f"{self._set.name} has {_row_text(given)}"
            )

    def _source(self, name):
        """Returns the model's name of an output, if there is no doubt."""
        shapes = self._model.output_shapes
        if shapes is None:
            return name
        own_names = {model_form.plain_name(own): own for own in shapes}
        if name in own_names:
            return own_names[name]
        if name == _LOGITS and _PROBABILITIES in own_names:
            return own_names[_PROBABILITIES]
        expected = self._set.output_shapes.get(name)
        if self._choices:
            expected = ()
        fitting = [
            own for own, shape in shapes.items() if _may_be(shape, expected)
        ]
        if len(fitting) != 1:
            outputs = ", ".join(
                f"{own} {_shape_text(shape)}"
                for own, shape in sorted(shapes.items())
            )
            raise ValueError(
                f"{self._model.name}: got outputs {outputs or 'none'}; "
                f"expected one named {name}"
                + (f" {_shape_text((None, *expected))}" if expected else "")
            )
        return fitting[0]


def _input_shape(model):
    shapes = set(model.input_shapes.values())
    shape = model.input_shapes[model_form.INPUTS[0]]
    if len(shapes) > 1 or len(shape) not in (2, 3):
        raise ValueError(
            f"{model.name}: got inputs of shapes "
            f"{', '.join(map(_shape_text, model.input_shapes.values()))}; "
            "expected one shape, [batch, tokens] or [batch, choices, tokens]"
        )
    return shape


def _may_be(shape, expected):
    """Whether a batch's shape may be one of rows of the expected shape."""
    if expected is None:
        return True
    if None in shape[1:]:
        return len(shape) == len(expected) + 1
    return _squeezed(shape[1:]) == _squeezed(expected)


def _are_probabilities(values):
    classes = values.shape[-1]
    return (
        classes > 1
        and values.min() >= 0
        and np.all(np.abs(values.sum(axis=-1) - 1) < _SUM_TOLERANCE * classes)
    )


def _squeezed(shape):
    return [size for size in shape if size != 1]


def _shape_text(shape):
    return f"[{', '.join('?' if s is None else str(s) for s in shape)}]"


def _row_text(shape):
    sizes = ["any number of" if size is None else str(size) for size in shape]
    if len(sizes) == 1:
        return f"{sizes[0]} tokens"
    return f"{sizes[0]} choices of {sizes[1]} tokens"
