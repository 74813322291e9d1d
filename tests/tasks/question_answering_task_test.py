"""Loss and batches of the question-answering task."""

import numpy as np
import pytest
import small_networks
import tensorflow as tf
from sklearn import metrics as sklearn_metrics

from mobilebert_tf.data import batches
from mobilebert_tf.data import squad_features
from mobilebert_tf.data import squad_rows
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.experiments import question_answering_config
from mobilebert_tf.tasks import question_answering

_LENGTH = 12
_WINDOWS = 23


@pytest.fixture(name="features")
def _features():
    """Windows that are told apart by their first token."""
    generator = np.random.default_rng(3)
    ids = generator.integers(5, 90, [_WINDOWS, _LENGTH]).astype(np.int32)
    ids[:, 0] = 100 + np.arange(_WINDOWS)
    start = generator.integers(2, 5, _WINDOWS).astype(np.int32)
    positions = generator.integers(0, _LENGTH, [2, _WINDOWS]).astype(np.int32)
    return {
        "input_word_ids": ids,
        "context_start": start,
        "context_length": generator.integers(1, 6, _WINDOWS).astype(np.int32),
        "start_positions": positions[0],
        "end_positions": positions[1],
    }


def _task(**arguments):
    return question_answering.QuestionAnsweringTask(
        question_answering_config.question_answering().task,
        small_networks.CONFIGS["mobilebert"],
        **arguments,
    )


def _shuffled(features, batch_size, seed, start_batch=0):
    rows = squad_rows.WindowRows(features, with_positions=True)
    return batches.shuffled(rows, batch_size, seed, start_batch)


def _inputs(features):
    batch = squad_features.model_inputs(features)
    for name in ("start_positions", "end_positions"):
        batch[name] = features[name]
    return {name: tf.constant(value) for name, value in batch.items()}


def _loss(features, start_logits, end_logits):
    task = _task()
    inputs = _inputs(features)
    loss, terms = task.compute_loss(
        inputs,
        lambda inputs, training: {
            "start_logits": start_logits,
            "end_logits": end_logits,
        },
        training=True,
    )
    weights = task.loss_weights(inputs)
    for name, factor in task.loss_factors().items():
        assert factor == 1.0
        assert float(terms[name][1]) == float(weights[name])
    return float(loss), float(terms["accuracy"][0])


def test_the_loss_is_the_mean_cross_entropy_of_both_ends(features):
    logits = np.random.default_rng(5).normal(0, 2, [2, _WINDOWS, _LENGTH])
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.mean(
        [
            sklearn_metrics.log_loss(
                features[f"{part}_positions"], p, labels=range(_LENGTH)
            )
            for part, p in zip(("start", "end"), probabilities, strict=True)
        ]
    )
    loss, _ = _loss(features, *logits.astype(np.float32))
    assert loss == pytest.approx(expected, rel=1e-5)


def test_an_answer_is_right_where_both_ends_are(features):
    one_hot = np.eye(_LENGTH, dtype=np.float32)
    starts = one_hot[features["start_positions"]]
    wrong = features["end_positions"].copy()
    wrong[:5] = (wrong[:5] + 1) % _LENGTH
    _, accuracy = _loss(features, starts, one_hot[wrong])
    assert accuracy == pytest.approx(18 / 23)


def test_an_empty_batch_has_no_loss(features):
    none = {name: values[:0] for name, values in features.items()}
    logits = np.zeros([0, _LENGTH], np.float32)
    assert _loss(none, logits, logits) == (0.0, 0.0)


def test_training_batches_are_the_windows_in_another_order(features):
    data = _shuffled(features, 23, seed=1)
    expected = _inputs(features)
    orders = []
    for batch in data.take(2):
        row = batch[batches.ROW].numpy()
        orders.append(row.tolist())
        for name, values in expected.items():
            np.testing.assert_array_equal(batch[name], values.numpy()[row])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(_WINDOWS))
    assert orders[0] != orders[1] != sorted(orders[1])


def test_training_goes_on_where_it_was(features):
    def words(start_batch, count):
        data = _shuffled(features, 8, 1, start_batch)
        return [b["input_word_ids"].numpy() for b in data.take(count)]

    np.testing.assert_array_equal(words(4, 2), words(0, 6)[4:])


def test_batches_have_static_shapes(features):
    spec = _shuffled(features, 8, 1).element_spec
    assert spec["input_mask"].shape == [8, _LENGTH]
    assert spec["end_positions"].shape == [8]


def test_evaluation_is_one_pass_in_order(features):
    data = list(batches.in_order(squad_rows.WindowRows(features), 8))
    assert [len(batch["input_mask"]) for batch in data] == [8, 8, 7]
    words = np.concatenate([batch["input_word_ids"] for batch in data])
    np.testing.assert_array_equal(words, features["input_word_ids"])


def test_scores_are_of_the_logits_in_order(features):
    """Replicas hand over their rows in turn."""
    part = {name: values[:4] for name, values in features.items()}

    class Scored(evaluation_set.EvaluationSet):
        output_names = ("start_logits", "end_logits")

        def measure(self, outputs):
            values = {name: each.tolist() for name, each in outputs.items()}
            return evaluation_set.Measurement(values, {})

        def worst_errors(self, outputs, count):
            raise AssertionError

    task = _task(evaluation_sets=[Scored("dev", squad_rows.WindowRows(part))])
    state = None
    for rows in ([0, 2], [1, 3]):
        logits = tf.constant([[float(row)] for row in rows])
        outputs = {
            batches.ROW: (tf.constant(rows),),
            "start_logits": (logits,),
            "end_logits": (-logits,),
        }
        state = task.aggregate_logs(state, outputs)
    assert task.reduce_aggregated_logs(state, 7) == {
        "start_logits": [[0.0], [1.0], [2.0], [3.0]],
        "end_logits": [[0.0], [-1.0], [-2.0], [-3.0]],
    }
