"""What a fine-tuned teacher adds to a task's loss, on small real networks."""

import functools
import types

import numpy as np
import pytest
import small_networks
import tensorflow as tf
import tf_keras
from scipy import special
from scipy import stats

from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.distillation import task_distillation
from mobilebert_tf.experiments import task_distillation_config
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import gradient_steps

_STUDENT = small_networks.CONFIGS["mobilebert"]
_TEACHER = small_networks.CONFIGS["teacher"]
_MODELS = {
    "classification": lambda network: _classifier(network, 3),
    "regression": lambda network: _classifier(network, 1),
    "tagging": lambda network: models.MobileBertForTokenClassification(
        network, num_labels=4, dropout_rate=0.0
    ),
    "multiple_choice": lambda network: models.MobileBertForMultipleChoice(
        network, dropout_rate=0.0
    ),
    "question_answering": models.MobileBertForQuestionAnswering,
}
_COUNT, _LENGTH = 4, 10


def _classifier(network, num_labels):
    return models.MobileBertForSequenceClassification(
        network, num_labels=num_labels, dropout_rate=0.0
    )


def _fresh_model(head, network, seed=0):
    model = _MODELS[head](network)
    model.build_weights()
    small_networks.randomize(model, seed)
    return model


# Of models that a test does not change; a teacher becomes one that is frozen.
_model = functools.cache(_fresh_model)


def _config(**values):
    return task_distillation_config.TaskDistillationConfig(
        teacher_dir="somewhere", **values
    )


def _distillation(head="classification", teacher=None, **values):
    return task_distillation.TaskDistillation(
        _config(**values),
        teacher or _model(head, _TEACHER, 1),
        _STUDENT,
        is_regression=head == "regression",
    )


def _inputs(head, count=_COUNT):
    """A batch of a kind of task, and which of its items have labels."""
    if head == "multiple_choice":
        inputs = small_networks.make_inputs(_STUDENT, 3 * count, _LENGTH)
        inputs = {
            name: ids.reshape(count, 3, _LENGTH) for name, ids in inputs.items()
        }
    else:
        inputs = small_networks.make_inputs(_STUDENT, count, _LENGTH)
    items = np.ones(count, np.float32)
    if head == "tagging":
        items = np.random.default_rng(2).integers(0, 2, [count, _LENGTH])
        items = (items * inputs["input_mask"]).astype(np.float32)
    return inputs, items


def _with_logits(distillation, inputs):
    return inputs | distillation.teacher_logits(rows_lib.ArrayRows(inputs))


def _relative_entropy(teacher, student, temperature):
    return temperature**2 * stats.entropy(
        special.softmax(teacher / temperature, axis=-1),
        special.softmax(student / temperature, axis=-1),
        axis=-1,
    )


@pytest.mark.parametrize("count", [1, 150])
def test_logits_of_all_examples_are_the_teachers(count):
    teacher = _model("classification", _TEACHER, 1)
    inputs, _ = _inputs("classification", count)
    logits = _distillation(teacher=teacher).teacher_logits(
        rows_lib.ArrayRows(inputs)
    )
    assert list(logits) == ["teacher_logits"]
    small_networks.assert_close(
        logits["teacher_logits"], teacher(inputs)["logits"]
    )


def test_logits_of_both_ends():
    teacher = _model("question_answering", _TEACHER, 1)
    inputs, _ = _inputs("question_answering")
    distillation = _distillation("question_answering", teacher)
    logits = distillation.teacher_logits(rows_lib.ArrayRows(inputs))
    outputs = teacher(inputs)
    assert set(logits) == {"teacher_start_logits", "teacher_end_logits"}
    for name, values in logits.items():
        expected = outputs[name.removeprefix("teacher_")]
        small_networks.assert_close(values, expected)


@pytest.mark.parametrize("head", _MODELS)
def test_logits_are_compared_where_there_are_labels(head):
    """With scipy's relative entropy, or the squared error of values."""
    teacher, student = _model(head, _TEACHER, 1), _model(head, _STUDENT, 2)
    distillation = _distillation(head, teacher, temperature=2.0)
    inputs, items = _inputs(head)
    inputs = _with_logits(distillation, inputs)
    outputs, taught = student(_of_model(inputs)), teacher(_of_model(inputs))
    if head == "regression":
        values = (taught["logits"] - outputs["logits"]).numpy()[:, 0] ** 2
    else:
        names = [name for name in outputs if name.endswith("logits")]
        values = np.mean(
            [
                _relative_entropy(taught[n].numpy(), outputs[n].numpy(), 2.0)
                for n in names
            ],
            axis=0,
        )
    expected = (values * items).sum() / items.sum()
    terms = distillation.terms(inputs, outputs, items)
    mean, weight = terms["distillation_loss"]
    assert float(mean) == pytest.approx(expected, rel=1e-4)
    assert float(weight) == items.sum()


@pytest.mark.parametrize("head", _MODELS)
def test_blocks_are_compared_at_real_tokens(head):
    teacher, student = _model(head, _TEACHER, 1), _model(head, _STUDENT, 2)
    distillation = _distillation(
        head,
        teacher,
        ground_truth_ratio=1.0,
        feature_map_factor=0.1,
        layer_mapping="explicit",
        teacher_layers=[1, 0],
    )
    inputs, items = _inputs(head)
    outputs, taught = student(inputs), teacher(inputs)
    mask = inputs["input_mask"].reshape(-1, _LENGTH)
    expected = 0.0
    for ours, theirs in ((1, 2), (2, 1)):  # The embeddings come first.
        difference = (
            outputs["encoder_outputs"][ours] - taught["encoder_outputs"][theirs]
        ).numpy()
        squares = (difference**2).mean(axis=-1)
        expected += (squares * mask).sum() / mask.sum()
    terms = distillation.terms(inputs, outputs, items)
    mean, weight = terms["feature_map_loss"]
    assert list(terms) == distillation.metric_names == ["feature_map_loss"]
    assert float(mean) == pytest.approx(expected, rel=1e-4)
    assert float(weight) == mask.sum()


def test_attention_maps_are_compared():
    distillation = _distillation(attention_factor=0.5)
    student = _model("classification", _STUDENT, 2)
    inputs, items = _inputs("classification")
    inputs = _with_logits(distillation, inputs)
    terms = distillation.terms(inputs, student(_of_model(inputs)), items)
    assert set(terms) == {"distillation_loss", "attention_loss"}
    assert float(terms["attention_loss"][0]) > 0.01


def test_factors_share_the_loss_between_labels_and_teacher():
    distillation = _distillation(
        ground_truth_ratio=0.3, feature_map_factor=2.0, attention_factor=0.5
    )
    assert distillation.factors("cross_entropy") == {
        "cross_entropy": 0.3,
        "distillation_loss": 0.7,
        "feature_map_loss": 2.0,
        "attention_loss": 0.5,
    }


def test_labels_alone_spare_the_teacher():
    def never(*arguments, **keywords):
        raise AssertionError("the teacher ran")

    teacher = types.SimpleNamespace(config=_TEACHER, encoder=never)
    distillation = _distillation(teacher=teacher, ground_truth_ratio=1.0)
    inputs, items = _inputs("classification")
    assert distillation.factors("cross_entropy") == {"cross_entropy": 1.0}
    assert distillation.teacher_logits(rows_lib.ArrayRows(inputs)) == {}
    assert distillation.terms(inputs, {}, items) == {}
    assert distillation.loss_weights(inputs, items) == {}
    assert distillation.metric_names == []


@pytest.mark.parametrize("head", ["regression", "question_answering"])
def test_a_student_equal_to_its_teacher_has_nothing_to_learn(head):
    teacher, student = (_fresh_model(head, _STUDENT, 1) for _ in range(2))
    distillation = _distillation(
        head,
        teacher,
        temperature=3.0,
        feature_map_factor=1.0,
        attention_factor=1.0,
    )
    inputs, items = _inputs(head)
    inputs = _with_logits(distillation, inputs)
    with tf.GradientTape() as tape:
        terms = distillation.terms(inputs, student(_of_model(inputs)), items)
        loss = tf.add_n([mean for mean, _ in terms.values()])
    assert float(loss) == pytest.approx(0.0, abs=1e-5)
    gradients = tape.gradient(loss, student.trainable_variables)
    largest = max(
        np.abs(tf.convert_to_tensor(gradient)).max()
        for gradient in gradients
        if gradient is not None
    )
    assert largest < 1e-4


def test_the_teacher_does_not_learn():
    teacher = _fresh_model("classification", _TEACHER)
    distillation = _distillation(teacher=teacher, feature_map_factor=1.0)
    student = _model("classification", _STUDENT, 2)
    assert teacher.trainable_variables == []
    inputs, items = _inputs("classification")
    inputs = _with_logits(distillation, inputs)
    with tf.GradientTape() as tape:
        tape.watch(teacher.weights)
        terms = distillation.terms(inputs, student(_of_model(inputs)), items)
        loss = tf.add_n([mean for mean, _ in terms.values()])
    assert set(tape.gradient(loss, teacher.weights)) == {None}


class _Tagging(gradient_steps.WeightedLossTask):
    """Learns from the teacher alone."""

    def __init__(self, distillation, gradient_accumulation_steps):
        super().__init__(
            types.SimpleNamespace(
                gradient_accumulation_steps=gradient_accumulation_steps
            )
        )
        self._distillation = distillation

    def build_inputs(self, params, input_context=None):
        raise NotImplementedError

    def loss_factors(self):
        factors = self._distillation.factors("labels")
        return {name: factors[name] for name in factors if name != "labels"}

    def loss_weights(self, inputs):
        return self._distillation.loss_weights(inputs, inputs["items"])

    def compute_loss(self, inputs, model, training):
        outputs = model(_of_model(inputs), training=False)
        terms = self._distillation.terms(inputs, outputs, inputs["items"])
        return 0.0, terms


def test_a_batch_in_parts_makes_the_update_of_the_whole():
    """Parts have other numbers of words and of tokens."""
    distillation = _distillation(
        "tagging", feature_map_factor=0.5, attention_factor=0.5
    )
    inputs, items = _inputs("tagging", count=8)
    items[:3] = 0.0
    inputs = _with_logits(distillation, inputs) | {"items": items}
    inputs = {name: tf.constant(values) for name, values in inputs.items()}
    losses, weights = [], []
    for parts in (1, 4):
        student = _fresh_model("tagging", _STUDENT)
        task = _Tagging(distillation, parts)
        optimizer = tf_keras.optimizers.legacy.SGD(0.1)
        logs = task.train_step(inputs, student, optimizer)
        losses.append(float(logs[task.loss]))
        weights.append(student.get_weights())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for whole, in_parts in zip(*weights, strict=True):
        np.testing.assert_allclose(whole, in_parts, atol=1e-5)


def test_a_batch_without_words_has_no_distillation_loss():
    distillation = _distillation("tagging")
    inputs, items = _inputs("tagging")
    inputs = _with_logits(distillation, inputs)
    outputs = _model("tagging", _STUDENT, 2)(_of_model(inputs))
    terms = distillation.terms(inputs, outputs, 0.0 * items)
    assert [float(value) for value in terms["distillation_loss"]] == [0.0, 0.0]


@pytest.mark.parametrize(
    "values, message",
    [
        ({"ground_truth_ratio": 1.5}, "ratio: expected 0 to 1, got 1.5"),
        ({"ground_truth_ratio": float("nan")}, "expected 0 to 1, got nan"),
        ({"temperature": 0.0}, "temperature: expected more than 0, got 0.0"),
        ({"feature_map_factor": -1.0}, "factor: expected at least 0, got -1"),
        ({"attention_factor": float("inf")}, "expected at least 0, got inf"),
        ({"layer_mapping": "all"}, "one_to_one, every_k, explicit, got 'all'"),
        ({"teacher_layers": [0]}, "none with layer_mapping=one_to_one, got"),
    ],
)
def test_values_that_mean_nothing(values, message):
    with pytest.raises(ValueError, match=message):
        task_distillation.check(_config(**values))


@pytest.mark.parametrize(
    "name, value",
    [("ground_truth_ratio", 0.2), ("teacher_layers", [0])],
)
def test_values_that_need_a_teacher(name, value):
    config = task_distillation_config.TaskDistillationConfig(**{name: value})
    with pytest.raises(ValueError, match=f"{name}=.* needs a teacher"):
        task_distillation.check(config)


def test_no_teacher_is_fine():
    task_distillation.check(task_distillation_config.TaskDistillationConfig())


@pytest.mark.parametrize(
    "sizes, values, message",
    [
        (
            {"hidden_size": 48},
            {"feature_map_factor": 1.0},
            "teacher with hidden_size 24, as the student, got 48",
        ),
        (
            {"num_attention_heads": 4},
            {"attention_factor": 1.0},
            "teacher with num_attention_heads 2, as the student, got 4",
        ),
        (
            {"num_hidden_layers": 3},
            {"feature_map_factor": 1.0},
            "task.distillation.layer_mapping=one_to_one: expected a teacher",
        ),
    ],
)
def test_blocks_that_cannot_be_compared(sizes, values, message):
    network = _TEACHER.__class__(**{**_TEACHER.to_dict(), **sizes})
    teacher = types.SimpleNamespace(config=network)
    with pytest.raises(ValueError, match=message):
        _distillation(teacher=teacher, **values)
    # The logits of such a teacher can be learned from.
    _distillation(teacher=teacher)


def _of_model(batch):
    """Returns the part of a batch that a model is called with."""
    return {name: batch[name] for name in rows_lib.INPUT_NAMES}
