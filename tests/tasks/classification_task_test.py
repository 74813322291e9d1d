"""Losses, frozen blocks and metrics of the classification task."""

import numpy as np
import pytest
import small_networks
import tensorflow as tf
import tf_keras
from sklearn import metrics as sklearn_metrics
from sklearn.utils import class_weight

from mobilebert_tf.data import rows
from mobilebert_tf.evaluation import classification_set
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.fine_tuning import classification as kinds_of_classification
from mobilebert_tf.tasks import classification

_NETWORK = small_networks.CONFIGS["mobilebert"]
_LABELS = ("no", "perhaps", "yes")


def _task(labels=_LABELS, train_ids=None, **params):
    config = classification_config.classification().task.replace(**params)
    if len(labels) == 1:
        return classification.RegressionTask(config, _NETWORK)
    train_rows = None
    if train_ids is not None:
        train_rows = rows.ArrayRows({"label_ids": train_ids})
    return classification.ClassificationTask(
        config, _NETWORK, labels, train_rows
    )


def _batch(num_labels=3, size=16):
    """Logits [B, C] and inputs with labels of each kind."""
    generator = np.random.default_rng(7)
    logits = generator.normal(0, 2, [size, num_labels]).astype(np.float32)
    inputs = {
        **small_networks.make_inputs(_NETWORK, count=size),
        "label_ids": tf.constant(generator.integers(0, num_labels, size)),
        "label_values": tf.constant(
            generator.normal(2, 1, size), dtype=tf.float32
        ),
    }
    return logits, inputs


def _loss(task, logits, inputs):
    loss, terms = task.compute_loss(
        inputs, lambda inputs, training: {"logits": logits}, training=True
    )
    weights = task.loss_weights(inputs)
    for name, factor in task.loss_factors().items():
        assert factor == 1.0
        assert float(terms[name][1]) == pytest.approx(float(weights[name]))
    return float(loss)


def test_plain_loss_is_the_cross_entropy():
    logits, inputs = _batch()
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = sklearn_metrics.log_loss(inputs["label_ids"], probabilities)
    assert _loss(_task(), logits, inputs) == pytest.approx(expected, rel=1e-5)


def test_smoothed_loss_is_that_of_keras():
    logits, inputs = _batch()
    keras = tf_keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.2
    )
    expected = float(keras(tf.one_hot(inputs["label_ids"], 3), logits))
    task = _task(loss={"label_smoothing": 0.2})
    assert _loss(task, logits, inputs) == pytest.approx(expected, rel=1e-5)


def test_weighted_loss_is_the_weighted_mean():
    logits, inputs = _batch()
    weights = [0.5, 2.0, 3.0]
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = sklearn_metrics.log_loss(
        inputs["label_ids"],
        probabilities,
        sample_weight=np.take(weights, inputs["label_ids"]),
    )
    task = _task(loss={"class_weights": weights})
    assert _loss(task, logits, inputs) == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_are_scikit_learns():
    logits, inputs = _batch()
    ids = np.array([0] * 7 + [1] * 2 + [2], np.int32)
    weights = class_weight.compute_class_weight(
        "balanced", classes=np.arange(3), y=ids
    )
    balanced = _task(train_ids=ids, loss={"balance_classes": True})
    given = _task(loss={"class_weights": weights.tolist()})
    assert _loss(balanced, logits, inputs) == pytest.approx(
        _loss(given, logits, inputs), rel=1e-6
    )


def test_a_regression_has_the_mean_squared_error():
    logits, inputs = _batch(num_labels=1)
    expected = sklearn_metrics.mean_squared_error(
        inputs["label_values"], logits[:, 0]
    )
    task = _task(labels=("score",))
    assert _loss(task, logits, inputs) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("labels", [_LABELS, ("score",)])
def test_a_batch_without_examples_has_no_loss(labels):
    logits, inputs = _batch(num_labels=len(labels))
    none = {name: values[:0] for name, values in inputs.items()}
    assert _loss(_task(labels), logits[:0], none) == 0.0


@pytest.mark.parametrize(
    "labels, params, message",
    [
        (_LABELS, {"loss": {"label_smoothing": 1.0}}, "less than 1, got 1.0"),
        (_LABELS, {"loss": {"label_smoothing": -0.1}}, "got -0.1"),
        (
            _LABELS,
            {"loss": {"class_weights": [1.0, 2.0]}},
            "each of no, perhaps, yes, got",
        ),
        (
            _LABELS,
            {"loss": {"class_weights": [1.0, 2.0, 0.0]}},
            "positive number",
        ),
        (
            _LABELS,
            {"loss": {"class_weights": [1.0] * 3, "balance_classes": True}},
            "got both",
        ),
        (("score",), {"loss": {"balance_classes": True}}, "regression"),
        (("score",), {"loss": {"label_smoothing": 0.1}}, "regression"),
        (_LABELS, {"num_frozen_blocks": 3}, "expected 0 to 2, got 3"),
        (_LABELS, {"num_frozen_blocks": -1}, "expected 0 to 2, got -1"),
        (_LABELS, {"num_frozen_blocks": 1.5}, "expected 0 to 2, got 1.5"),
        (_LABELS, {"num_frozen_blocks": "six"}, "expected 0 to 2, got six"),
        (
            _LABELS,
            {"loss": {"class_weights": ["1e-1", 2, 3]}},
            "positive number",
        ),
    ],
)
def test_options_that_do_not_fit(labels, params, message):
    with pytest.raises(ValueError, match=message):
        _task(labels, **params)


def test_frozen_parts_keep_their_weights():
    task = _task(num_frozen_blocks=1)
    model = task.build_model()
    inputs = small_networks.make_inputs(_NETWORK)
    inputs["label_ids"] = np.array([0, 1, 2, 0], np.int32)
    parts = {
        "embeddings": model.encoder.embeddings,
        "block 0": model.encoder.blocks[0],
        "block 1": model.encoder.blocks[1],
        "pooler": getattr(model.encoder, "pooler", model.classifier),
        "classifier": model.classifier,
    }
    before = {name: part.get_weights() for name, part in parts.items()}
    optimizer = tf_keras.optimizers.legacy.SGD(0.1)

    @tf.function
    def step(inputs):
        task.train_step(inputs, model, optimizer)

    step(inputs)
    changed = {
        name
        for name, part in parts.items()
        if any(
            np.any(old != new)
            for old, new in zip(before[name], part.get_weights(), strict=True)
        )
    }
    assert changed == {"block 1", "pooler", "classifier"}


@pytest.mark.parametrize("count, is_frozen", [(None, False), (0, True)])
def test_no_frozen_block_still_freezes_the_embeddings(count, is_frozen):
    task = _task(num_frozen_blocks=count)
    model = task.build_model()
    trained = {id(v) for v in task.trainable_variables(model)}
    table = model.encoder.embeddings.trainable_variables[0]
    assert (id(table) not in trained) == is_frozen
    block = model.encoder.blocks[0].trainable_variables[0]
    assert id(block) in trained


def _sets(logits, labels, sizes):
    """Sets of so many examples, one after the other."""
    sets, start = [], 0
    for name, size in zip(("dev", "dev_mismatched"), sizes, strict=True):
        ids = np.arange(start, start + size, dtype=np.int32)
        features = {
            name: np.repeat(ids[:, np.newaxis], 4, axis=1)
            for name in rows.INPUT_NAMES
        }
        features["label_ids"] = labels[start : start + size]
        texts = [f"text {row}" for row in ids]
        sets.append(
            classification_set.ClassificationSet(
                name, features, _LABELS, ("accuracy", "macro_f1"), texts
            )
        )
        start += size
    return sets


def test_evaluation_sets_are_measured_apart():
    """Whatever batches they come in, and in whatever order."""
    recorded = []
    logits, inputs = _batch(size=30)
    labels = inputs["label_ids"].numpy()
    task = classification.ClassificationTask(
        classification_config.classification().task,
        _NETWORK,
        _LABELS,
        evaluation_sets=_sets(logits, labels, (12, 18)),
        on_evaluation=lambda *arguments: recorded.append(arguments),
    )
    state = None
    for part in (slice(16, 30), slice(0, 16)):
        outputs = {
            "logits": [tf.constant(logits[part])],
            "row": [tf.constant(np.arange(30)[part])],
        }
        state = task.aggregate_logs(state, outputs)
    metrics = task.reduce_aggregated_logs(state, tf.constant(12))
    for part, prefix in ((slice(12), ""), (slice(12, 30), "dev_mismatched/")):
        truth, values = labels[part], logits[part]
        assert metrics[f"{prefix}accuracy"] == sklearn_metrics.accuracy_score(
            truth, values.argmax(-1)
        )
        probabilities = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
        assert metrics[f"{prefix}validation_loss"] == pytest.approx(
            sklearn_metrics.log_loss(truth, probabilities), rel=1e-5
        )
    assert len(metrics) == 6
    ((_, step, told, evaluated),) = recorded
    assert (step, told) == (12, metrics)
    assert [each.set.name for each in evaluated] == ["dev", "dev_mismatched"]
    np.testing.assert_array_equal(evaluated[1].outputs["logits"], logits[12:])


def test_evaluation_batches_hold_all_sets_in_order():
    logits, inputs = _batch(size=5)
    labels = inputs["label_ids"].numpy()
    task = classification.ClassificationTask(
        classification_config.classification().task,
        _NETWORK,
        _LABELS,
        evaluation_sets=_sets(logits, labels, (3, 2)),
    )
    data = fine_tuning_config.DataConfig(global_batch_size=4, is_training=False)
    batches = list(task.build_inputs(data))
    assert [len(batch["row"]) for batch in batches] == [4, 1]
    ids = np.concatenate([batch["input_word_ids"] for batch in batches])
    assert ids[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_rates_decay_from_the_head_to_the_embeddings():
    """Adam's first update is as large as the rate."""
    task = _task(layerwise_rate_decay=0.5, classifier_dropout=0.0)
    model = task.build_model()
    config = optimization_config.adamw(1e-3, 1e-3, warmup_steps=0)
    # Neither decay nor clipping: the rate alone.
    config.optimizer.adamw.weight_decay_rate = 0.0
    config.optimizer.adamw.global_clipnorm = None
    optimizer = task.create_optimizer(optimization_config.complete(config, 10))
    variables = model.trainable_variables
    before = {v.name: v.numpy() for v in variables}
    optimizer.apply_gradients([(tf.ones_like(v), v) for v in variables])
    steps = {
        name: np.abs(before[name] - v.numpy()).max()
        for name, v in ((v.name, v) for v in variables)
    }
    expected = [
        (model.classifier, 1e-3),
        (model.encoder.blocks[1], 5e-4),
        (model.encoder.blocks[0], 2.5e-4),
        (model.encoder.embeddings, 1.25e-4),
    ]
    for part, rate in expected:
        for variable in part.trainable_variables:
            assert steps[variable.name] == pytest.approx(rate, rel=2e-2)


@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_a_rate_decay_out_of_bounds(decay):
    params = classification_config.classification()
    params.task.layerwise_rate_decay = decay
    with pytest.raises(ValueError, match=f"got {decay}, expected above 0"):
        kinds_of_classification.Classification(params).check()
