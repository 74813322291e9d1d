"""Every form of a model gives the same outputs, or one clear line."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter as litert
from scipy import special

from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import model_form
from mobilebert_tf.evaluation import model_forms
from mobilebert_tf.evaluation import model_outputs
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models

LENGTH = 12
VOCAB_SIZE = 40
CONFIG = config_lib.mobilebert(
    vocab_size=VOCAB_SIZE,
    hidden_size=16,
    embedding_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_feedforward_networks=1,
    intermediate_size=32,
    intra_bottleneck_size=8,
    max_position_embeddings=16,
)
# Rounding alone, through a converter's fused kernels.
TOLERANCE = dict(rtol=1e-4, atol=1e-5)


class RandomSet(evaluation_set.EvaluationSet):
    """Rows of random ids with padding; nothing to score."""

    def __init__(self, shape, output_shapes):
        self.output_names = tuple(output_shapes)
        self.output_shapes = output_shapes
        generator = np.random.default_rng(7)
        ids = generator.integers(5, VOCAB_SIZE, shape)
        lengths = generator.integers(3, shape[-1] + 1, shape[:-1])
        mask = np.arange(shape[-1]) < lengths[..., np.newaxis]
        types = mask & (np.arange(shape[-1]) > 2)
        values = zip(model_form.INPUTS, (ids * mask, mask, types), strict=True)
        arrays = {name: value.astype(np.int32) for name, value in values}
        super().__init__("dev", rows_lib.ArrayRows(arrays))

    def measure(self, outputs):
        raise NotImplementedError

    def worst_errors(self, outputs, count):
        raise NotImplementedError


def _randomized(model):
    model.build_weights()
    generator = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(generator.normal(0.0, 0.3, variable.shape))
    return model


CLASSES = {"logits": (3,)}
SPANS = {"start_logits": (LENGTH,), "end_logits": (LENGTH,)}
# Head: model, shape of the inputs, shapes of a row's outputs.
KINDS = {
    model_directory.SEQUENCE_CLASSIFICATION: (
        lambda: models.MobileBertForSequenceClassification(CONFIG, 3, 0.0),
        (5, LENGTH),
        CLASSES,
    ),
    model_directory.TOKEN_CLASSIFICATION: (
        lambda: models.MobileBertForTokenClassification(CONFIG, 3, 0.0),
        (5, LENGTH),
        {"logits": (LENGTH, 3)},
    ),
    model_directory.QUESTION_ANSWERING: (
        lambda: models.MobileBertForQuestionAnswering(CONFIG),
        (5, LENGTH),
        SPANS,
    ),
    model_directory.MULTIPLE_CHOICE: (
        lambda: models.MobileBertForMultipleChoice(CONFIG, 0.0),
        (5, 4, LENGTH),
        {"logits": (4,)},
    ),
}


class Kind:
    """A random model, a set, and what the model itself says of it."""

    def __init__(self, head):
        make, shape, output_shapes = KINDS[head]
        self.head = head
        self.model = _randomized(make())
        self.set = RandomSet(shape, output_shapes)
        outputs = self.model(self.set.inputs(slice(None)), training=False)
        self.expected = {name: outputs[name].numpy() for name in output_shapes}

    def module(self, shape):
        """Returns a tf.Module whose `serve` takes inputs of one shape."""
        module = tf.Module()
        module.model = self.model
        module.serve = tf.function(
            lambda *inputs: {
                name: value
                for name, value in self.model(
                    dict(zip(model_form.INPUTS, inputs, strict=True)),
                    training=False,
                ).items()
                if name in self.expected
            },
            input_signature=[
                tf.TensorSpec(shape, tf.int32, name)
                for name in model_form.INPUTS
            ],
        )
        return module


class Toy(tf.Module):
    """Sums of vectors of the ids; quick to convert where no network matters.

    Args:
        shape: of the inputs that `serve` takes.
        size: of the vectors.
        inputs: names of the inputs.
        outputs: {name: function of the sums}.
    """

    def __init__(self, shape, size=3, inputs=model_form.INPUTS, outputs=None):
        super().__init__()
        self.table = tf.Variable(_table(size))
        outputs = outputs or {"logits": lambda sums: sums}

        def serve(*inputs):
            sums = self.sums(*inputs)
            return {name: output(sums) for name, output in outputs.items()}

        self.serve = tf.function(
            serve,
            input_signature=[
                tf.TensorSpec(shape, tf.int32, name) for name in inputs
            ],
        )

    def sums(self, ids, mask, types):
        vectors = tf.gather(self.table, ids)  # [..., S, size]
        weights = tf.cast(mask, tf.float32) + 0.5 * tf.cast(types, tf.float32)
        return tf.reduce_sum(vectors * weights[..., tf.newaxis], axis=-2)


def _table(size):
    generator = np.random.default_rng(11)
    return generator.normal(size=[VOCAB_SIZE, size]).astype(np.float32)


def _sums(rows, size=3):
    """What a Toy says of a set, by NumPy."""
    inputs = rows.inputs(slice(None))
    weights = inputs["input_mask"] + 0.5 * inputs["input_type_ids"]
    vectors = _table(size)[inputs["input_word_ids"]]
    return np.sum(vectors * weights[..., np.newaxis], axis=-2)


ROWS = RandomSet((5, LENGTH), CLASSES)
CHOICES = RandomSet((5, 4, LENGTH), {"logits": (4,)})


_KINDS = {}


def _kind(head):
    if head not in _KINDS:
        _KINDS[head] = Kind(head)
    return _KINDS[head]


@pytest.fixture(params=KINDS)
def kind(request):
    return _kind(request.param)


def _check(outputs, expected):
    assert outputs.keys() == expected.keys()
    for name, values in outputs.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected[name], **TOLERANCE)


def _saved_model(path, module, **signatures):
    tf.saved_model.save(
        module,
        str(path),
        signatures=signatures or {"serving_default": module.serve},
    )
    return str(path)


def _tflite(path, module, with_signature=True):
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.serve.get_concrete_function()],
        module if with_signature else None,
    )
    path.write_bytes(converter.convert())
    return str(path)


def _model_folder(folder, kind):
    labels = (
        ("a", "b", "c") if kind.head in model_directory.LABELLED_HEADS else ()
    )
    words = [f"word{i}" for i in range(VOCAB_SIZE)]
    vocab = "\n".join([*tokenization.SPECIAL_TOKENS, *words][:VOCAB_SIZE])
    vocab_file = folder / "given.txt"
    vocab_file.write_text(vocab + "\n")
    model_directory.write(
        str(folder / "model"),
        CONFIG,
        model_directory.ModelInfo(kind.head, LENGTH, labels=labels),
        str(vocab_file),
    )
    checkpoint = tf.train.Checkpoint(model=kind.model)
    tf.train.CheckpointManager(
        checkpoint, str(folder / "model"), max_to_keep=1
    ).save()
    return str(folder / "model")


def test_keras_model(kind):
    _check(model_outputs.predict(kind.set, kind.model, 2), kind.expected)


def test_model_folder(kind, tmp_path):
    folder = _model_folder(tmp_path, kind)
    _check(model_outputs.predict(kind.set, folder, 2), kind.expected)


@pytest.mark.slow
def test_saved_model_of_any_batch(kind, tmp_path):
    shape = [None, *kind.set.inputs(slice(1))["input_mask"].shape[1:]]
    path = _saved_model(tmp_path / "saved", kind.module(shape))
    _check(model_outputs.predict(kind.set, path, 2), kind.expected)


@pytest.mark.slow
def test_tflite_of_one_row(kind, tmp_path):
    """Choices go in one at a time where the file takes a sequence."""
    shape = [1, *kind.set.inputs(slice(1))["input_mask"].shape[1:]]
    path = _tflite(tmp_path / "model.tflite", kind.module(shape))
    _check(model_outputs.predict(kind.set, path), kind.expected)


@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("write", [_saved_model, _tflite])
def test_multiple_choice_by_single_choices(tmp_path, write, batch):
    path = write(tmp_path / "model", Toy([batch, LENGTH], size=1))
    expected = {"logits": _sums(CHOICES, size=1)[..., 0]}
    _check(model_outputs.predict(CHOICES, path, 2), expected)


@pytest.mark.parametrize("write", [_saved_model, _tflite])
def test_a_batch_of_the_models_own(tmp_path, write):
    """Five rows in batches of two: the last one is padded, and cut again."""
    path = write(tmp_path / "model", Toy([2, LENGTH]))
    _check(model_outputs.predict(ROWS, path, 3), {"logits": _sums(ROWS)})


def test_a_single_row(tmp_path):
    one = RandomSet((1, LENGTH), CLASSES)
    path = _tflite(tmp_path / "model.tflite", Toy([1, LENGTH]))
    _check(model_outputs.predict(one, path), {"logits": _sums(one)})


@pytest.mark.parametrize(
    "names",
    [
        ("input_ids", "attention_mask", "token_type_ids"),
        ("input_ids", "input_mask", "segment_ids"),
    ],
)
@pytest.mark.parametrize("write", [_saved_model, _tflite])
def test_inputs_of_other_names(tmp_path, write, names):
    path = write(tmp_path / "model", Toy([1, LENGTH], inputs=names))
    _check(model_outputs.predict(ROWS, path), {"logits": _sums(ROWS)})


@pytest.mark.parametrize("names", [model_form.INPUTS, ("x_1", "x_2", "x_3")])
def test_tflite_without_signature(tmp_path, names):
    toy = Toy([1, LENGTH], inputs=names)
    path = _tflite(tmp_path / "model.tflite", toy, with_signature=False)
    assert not litert.Interpreter(path).get_signature_list()
    _check(model_outputs.predict(ROWS, path), {"logits": _sums(ROWS)})


@pytest.mark.parametrize("name", ["probabilities", "scores"])
def test_probabilities_become_logits(tmp_path, name):
    toy = Toy([1, LENGTH], outputs={name: tf.nn.softmax})
    path = _tflite(tmp_path / "model.tflite", toy)
    logits = model_outputs.predict(ROWS, path)["logits"]
    np.testing.assert_allclose(
        logits, special.log_softmax(_sums(ROWS), axis=-1), **TOLERANCE
    )


class _Fixed(model_form.ModelForm):
    """Says the same of every row."""

    name = "fixed"

    def __init__(self, row, output="probabilities"):
        self._row = np.asarray(row, np.float32)
        self.input_shapes = dict.fromkeys(model_form.INPUTS, (None, None))
        self.output_shapes = {output: (None, *self._row.shape)}

    def run(self, inputs, outputs):
        rows = len(inputs["input_mask"])
        return {name: np.stack([self._row] * rows) for name in outputs}


def test_a_probability_of_zero_has_a_finite_logit():
    rows = RandomSet((2, LENGTH), CLASSES)
    logits = model_outputs.predict(rows, _Fixed([1.0, 0.0, 0.0]))["logits"]
    assert np.all(np.isfinite(logits))
    np.testing.assert_allclose(tf.nn.softmax(logits)[0], [1, 0, 0], atol=1e-30)


def test_logits_that_look_like_probabilities_stay():
    rows = RandomSet((2, LENGTH), CLASSES)
    model = _Fixed([0.5, 0.25, 0.25], "logits")
    logits = model_outputs.predict(rows, model)["logits"]
    np.testing.assert_array_equal(logits[0], [0.5, 0.25, 0.25])


def test_regression_is_no_probability():
    rows = RandomSet((2, LENGTH), {"logits": (1,)})
    values = model_outputs.predict(rows, _Fixed([1.0], "value"))["logits"]
    np.testing.assert_array_equal(values, [[1.0], [1.0]])


@pytest.fixture(scope="module")
def quantized_file(tmp_path_factory):
    """A file that takes and gives int8, and the same in float."""
    kernel = np.random.default_rng(0).normal(0, 0.05, [LENGTH, 3])

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, LENGTH], tf.float32, name)
            for name in model_form.INPUTS
        ]
    )
    def serve(input_word_ids, input_mask, input_type_ids):
        masked = input_word_ids * input_mask + input_type_ids
        return {"logits": tf.matmul(masked, kernel.astype(np.float32))}

    module = tf.Module()
    module.serve = serve
    rows = RandomSet((50, LENGTH), CLASSES)

    def examples():
        for row in range(len(rows)):
            inputs = rows.inputs(slice(row, row + 1))
            yield {name: ids.astype(np.float32) for name, ids in inputs.items()}

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], module
    )
    folder = tmp_path_factory.mktemp("quantized")
    (folder / "float.tflite").write_bytes(converter.convert())
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], module
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = examples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    (folder / "int8.tflite").write_bytes(converter.convert())
    return folder


def test_int8_inputs_and_outputs(quantized_file):
    path = str(quantized_file / "int8.tflite")
    runner = litert.Interpreter(path).get_signature_runner()
    for details in (runner.get_input_details(), runner.get_output_details()):
        assert all(d["dtype"] == np.int8 for d in details.values())
    rows = RandomSet((50, LENGTH), CLASSES)  # As calibrated.
    expected = model_outputs.predict(
        rows, str(quantized_file / "float.tflite")
    )["logits"]
    logits = model_outputs.predict(rows, path)["logits"]
    step = runner.get_output_details()["logits"]["quantization"][0]
    assert np.ptp(expected) > 50 * step
    # Roundings of input, sum, weights and output.
    assert np.abs(logits - expected).max() < 6 * step


def test_ids_that_int8_cannot_hold(quantized_file):
    rows = RandomSet((2, LENGTH), CLASSES)
    rows.inputs(slice(None))["input_word_ids"][:] = 30000
    with pytest.raises(
        ValueError, match=r"int8\.tflite: input_word_ids: got ids up to 30000"
    ):
        model_outputs.predict(rows, str(quantized_file / "int8.tflite"))


# What cannot be evaluated.


def _fails(path, rows=ROWS):
    """Returns the one line that says why."""
    with pytest.raises(ValueError) as raised:
        model_outputs.predict(rows, path)
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def toy_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "model.tflite"
    return _tflite(path, Toy([1, LENGTH]))


@pytest.mark.parametrize("write", [_saved_model, _tflite])
def test_another_length(tmp_path, write):
    path = write(tmp_path / "model", Toy([1, 8]))
    assert _fails(path) == f"{path}: takes 8 tokens, but dev has 12 tokens"


def test_another_number_of_choices(tmp_path):
    path = _saved_model(tmp_path / "model", Toy([None, 2, LENGTH], size=1))
    assert _fails(path, CHOICES) == (
        f"{path}: takes 2 choices of 12 tokens, but dev has 4 choices of 12 "
        "tokens"
    )


def test_another_number_of_classes(toy_file):
    assert _fails(toy_file, RandomSet((2, LENGTH), {"logits": (2,)})) == (
        f"{toy_file}: output logits: got shape [3] for a row, expected [2]; "
        "was the model trained for the task of dev?"
    )


def test_another_head(tmp_path, toy_file):
    assert _fails(toy_file, RandomSet((2, LENGTH), SPANS)) == (
        f"{toy_file}: got outputs logits [1, 3]; expected one named "
        "start_logits [?, 12]"
    )
    folder = _model_folder(tmp_path, _kind(model_directory.QUESTION_ANSWERING))
    message = _fails(folder)
    assert message.startswith(f"{folder}: got outputs ")
    assert message.endswith("expected one named logits")


def test_two_outputs_of_unknown_names(tmp_path):
    """Which of them is the start cannot be told."""
    outputs = {"a": lambda sums: sums, "b": lambda sums: -sums}
    toy = Toy([1, LENGTH], size=LENGTH, outputs=outputs)
    path = _saved_model(tmp_path / "model", toy)
    assert _fails(path, RandomSet((2, LENGTH), SPANS)) == (
        f"{path}: got outputs a [1, 12], b [1, 12]; expected one named "
        "start_logits [?, 12]"
    )


def test_other_inputs(tmp_path):
    module = tf.Module()
    module.serve = tf.function(
        lambda image: {"logits": 2.0 * image},
        input_signature=[tf.TensorSpec([1, 4], tf.float32, "image")],
    )
    for write in (_saved_model, _tflite):
        path = write(tmp_path / write.__name__, module)
        assert _fails(path) == (
            f"{path}: got inputs image; expected input_word_ids, input_mask, "
            "input_type_ids"
        )


def test_ids_beyond_the_word_table(toy_file, tmp_path):
    rows = RandomSet((2, LENGTH), CLASSES)
    rows.inputs(slice(None))["input_word_ids"][1, 0] = VOCAB_SIZE
    message = _fails(toy_file, rows)
    assert message.startswith(f"{toy_file}: LiteRT cannot run it: ")
    path = _saved_model(tmp_path / "saved", Toy([None, LENGTH]))
    assert _fails(path, rows).startswith(f"{path}: cannot run it: ")


def test_nan_is_no_prediction():
    message = _fails(_Fixed([0.0, np.nan, 1.0], "logits"))
    assert message == (
        "fixed: output logits: got NaN or infinity in row 0 of dev, expected "
        "finite numbers"
    )


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.01, 0.5, 0.999])
def test_tflite_cut_off(toy_file, tmp_path, share):
    content = pathlib.Path(toy_file).read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: int(share * len(content))])
    assert _fails(str(path)).startswith(f"{path}: ")


def test_a_text_for_a_tflite(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_text("not a model")
    assert _fails(str(path)) == (
        f"{path}: expected a .tflite file, got one that starts with b'not a mo'"
    )


def test_nothing_there(tmp_path):
    assert "got nothing there" in _fails(str(tmp_path / "absent"))
    assert "got a folder without them" in _fails(str(tmp_path))


@pytest.mark.parametrize(
    "file",
    [
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    ],
)
@pytest.mark.parametrize("damage", ["cut", "absent", "empty"])
def test_damaged_saved_model(tmp_path, file, damage):
    path = _saved_model(tmp_path / "saved", Toy([None, LENGTH]))
    damaged = pathlib.Path(path, file)
    content = damaged.read_bytes()
    if damage == "absent":
        os.remove(damaged)
    else:
        damaged.write_bytes(content[: len(content) // 2 * (damage == "cut")])
    assert _fails(path).startswith(f"{path}: ")


def test_saved_model_without_the_signature(tmp_path):
    toy = Toy([None, LENGTH])
    path = _saved_model(tmp_path / "saved", toy, train=toy.serve)
    assert _fails(path) == (
        f"{path}: expected a signature serving_default, got train"
    )


def test_no_rows(toy_file):
    message = _fails(toy_file, RandomSet((0, LENGTH), CLASSES))
    assert message == "dev: no rows to run a model on"


def test_load_once_run_often(toy_file):
    model = model_forms.load(toy_file, num_threads=2)
    for _ in range(2):
        _check(model_outputs.predict(ROWS, model), {"logits": _sums(ROWS)})
