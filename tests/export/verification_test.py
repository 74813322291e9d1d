"""Verdicts on files of a small model, and checks of a census."""

import numpy as np
import pytest
import small_models
import tensorflow as tf

from export import conversion
from export import inference_graph
from export import model_file
from export import verification
from mobilebert_tf import model_directory
from mobilebert_tf.evaluation import classification_set
from mobilebert_tf.modeling import models

CONFIG = small_models.CONFIGS["mobilebert"]
HEAD = model_directory.SEQUENCE_CLASSIFICATION


class Judged:
    """A classifier, its float32 file, and a judge of such files."""

    def __init__(self, folder):
        self.model = small_models.make_classifier(CONFIG)
        content = conversion.convert(
            inference_graph.module_of(self.model, small_models.SEQUENCE_LENGTH)
        )
        self.census = model_file.ModelFile(content).census()
        self.path = str(folder / "model.tflite")
        (folder / "model.tflite").write_bytes(content)
        inputs = small_models.make_inputs(CONFIG, 8)
        # What the model says of the first four is right.
        answers = self.model(inputs)["logits"].numpy().argmax(-1)
        labels = np.where(np.arange(8) < 4, answers, (answers + 1) % 3)
        features = {**inputs, "label_ids": labels.astype(np.int32)}
        self.sets = [
            classification_set.ClassificationSet(
                "dev", features, "abc", ["accuracy"], ["text"] * 8
            )
        ]

    def judge(self, model=None, max_metric_drop=1.0, max_relative_drop=1.0):
        return verification.Judge(
            model or self.model,
            HEAD,
            self.sets,
            {"accuracy": 100.0}.get,
            max_metric_drop,
            max_relative_drop=max_relative_drop,
        )


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    return Judged(tmp_path_factory.mktemp("judged"))


def test_same_model_passes(judged):
    judge = judged.judge()
    assert judge.metrics["accuracy"] == 0.5
    assert "validation_loss" in judge.metrics
    assert judge.points == {"accuracy": 100.0}
    verdict = judge.verify("float32", judged.path)
    assert verdict.failures == ()
    assert verdict.metrics["accuracy"] == 0.5
    assert verdict.drops == {"accuracy": 0.0}
    assert verdict.comparisons["probabilities"].max_difference < 1e-5
    assert verdict.census == judged.census
    layers = judged.census["FULLY_CONNECTED"]
    assert verdict.weights["FULLY_CONNECTED"] == layers
    assert verdict.delegation.partitions == 1
    assert verdict.delegation.left_out["GATHER"] == 2
    assert verdict.layer_errors is None


def test_errors_of_layers_on_request(judged):
    judge = judged.judge()
    examples = judge.examples(3)
    assert len(examples) == 3
    first = judged.sets[0].inputs(slice(0, 1))
    np.testing.assert_array_equal(
        examples[0]["input_word_ids"], first["input_word_ids"]
    )
    with open(judged.path, "rb") as stream:
        content = stream.read()
    verdict = judge.verify("float32", judged.path, float_model=content)
    assert verdict.layer_errors.num_examples == 8
    assert verdict.layer_errors.tensors[-1].sqnr_db > 120


def _other_model(judged, change):
    """Returns a classifier whose logits are changed."""
    other = models.MobileBertForSequenceClassification(CONFIG, 3)
    other.build_weights()
    other.set_weights(judged.model.get_weights())
    bias = other.classifier.dense.bias
    bias.assign(bias + change)
    return other


def test_drop_of_a_metric(judged):
    """Against a reference that says "a" of everything."""
    reference = _other_model(judged, [99.0, 0.0, 0.0])
    drop = 100 * (np.mean(judged.sets[0].label_ids == 0) - 0.5)
    judge = judged.judge(reference, max_metric_drop=drop)
    verdict = judge.verify("float32", judged.path)
    assert verdict.drops["accuracy"] == pytest.approx(drop)
    assert not any("accuracy" in why for why in verdict.failures)
    judge = judged.judge(reference, max_metric_drop=drop - 0.5)
    verdict = judge.verify("float32", judged.path)
    assert verdict.failures[0] == (
        f"accuracy drops by {drop:.2f} points, allowed {drop - 0.5:.3g}"
    )
    share = (drop - 0.5) / (100 * judge.metrics["accuracy"])
    judge = judged.judge(reference, 100.0, max_relative_drop=share)
    again = judge.verify("float32", judged.path)
    assert again.failures[0] == verdict.failures[0]


def test_float32_must_equal_keras(judged):
    other = _other_model(judged, [0.01, 0.0, 0.0])
    verdict = judged.judge(other).verify("float32", judged.path)
    (failure,) = verdict.failures
    assert failure.startswith("probabilities: differs by 0.00")
    assert failure.endswith("allowed 0.0001")


def test_float_file_is_no_int8_file(judged):
    verdict = judged.judge().verify("int8", judged.path)
    for name in ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D", "GATHER"):
        assert any(f"{name} in FLOAT32" in why for why in verdict.failures)


def test_head_may_stay_float():
    census = {"FULLY_CONNECTED": {"INT8": 30, "FLOAT32": 2}}
    assert verification.integer_failures(census, 2) == []
    assert verification.integer_failures(census, 1) == [
        "2 FULLY_CONNECTED in FLOAT32, expected INT8"
    ]
    census = {"GATHER": {"INT8": 1, "FLOAT32": 1}}
    assert verification.integer_failures(census, 2) == [
        "1 GATHER in FLOAT32, expected INT8"
    ]


@pytest.mark.parametrize(
    "variant, expected",
    [
        ("float16", "FLOAT16"),
        ("dynamic", "INT8"),
        ("int8_weights", "INT8"),
        ("int8", "INT8"),
        ("int16x8", "INT8 or INT16"),
    ],
)
def test_float_weights_are_told(judged, variant, expected):
    failures = judged.judge().verify(variant, judged.path).failures
    count = judged.census["FULLY_CONNECTED"]["FLOAT32"]
    assert (
        f"{count} FULLY_CONNECTED with weights in FLOAT32, expected {expected}"
        in failures
    )
    assert f"2 GATHER with weights in FLOAT32, expected {expected}" in failures


def test_what_was_kept_on_purpose_may_be_float(judged):
    kept = {
        name: sum(judged.census[name].values())
        for name in verification.INTEGER_OPS
    }
    kept["FULLY_CONNECTED"] -= 1  # the head's
    judge = judged.judge()
    assert judge.verify("int8", judged.path, num_kept=kept).failures == ()
    kept["GATHER"] -= 1
    failures = judge.verify("int8", judged.path, num_kept=kept).failures
    assert failures == (
        "2 GATHER in FLOAT32, expected INT8",
        "2 GATHER with weights in FLOAT32, expected INT8",
    )


def test_format_of_unpacked_weights():
    """Stored as float16, computed with in float32."""
    module = tf.Module()
    kernel = np.ones([8, 8], np.float32)

    @tf.function(input_signature=[tf.TensorSpec([4, 8], tf.float32)])
    def serve(x):
        return {"y": tf.matmul(x, kernel)}

    module.serve = serve
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], module
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    graph = model_file.ModelFile(converter.convert())
    assert graph.census()["FULLY_CONNECTED"] == {"FLOAT32": 1}
    assert graph.weight_census() == {"FULLY_CONNECTED": {"FLOAT16": 1}}


def test_broken_file(judged, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match="model.tflite"):
        judged.judge().verify("float32", str(path))


def test_census_counts_operators_by_format(judged):
    assert judged.census["GATHER"] == {"FLOAT32": 2}
    assert judged.census["CAST"] == {"CONVERSION": 1}
    assert judged.census["SOFTMAX"] == {"FLOAT32": 3}
