"""Comparison, census checks and verdicts on made-up outputs."""

import numpy as np
import pytest
import small_models

from export import inference_graph
from export import model_file
from export import quantization
from export import verification

REFERENCE = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
LABELS = np.array([0, 1, 0, 1])


@pytest.fixture(scope="module")
def float_model():
    model = small_models.make_classifier(small_models.CONFIGS["mobilebert"])
    return quantization.convert(
        inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    )


def test_compare():
    outputs = REFERENCE.copy()
    outputs[2] = [0.4, 0.6]
    comparison = verification.compare(REFERENCE, outputs)
    assert comparison.max_difference == pytest.approx(0.2)
    assert comparison.mean_difference == pytest.approx(0.4 / 8)
    assert comparison.label_agreement == 0.75
    power = np.sum(REFERENCE**2)
    assert comparison.sqnr_db == pytest.approx(10 * np.log10(power / 0.08))


def test_compare_equal_outputs():
    comparison = verification.compare(REFERENCE, REFERENCE)
    assert comparison.max_difference == 0
    assert comparison.sqnr_db == float("inf")
    assert comparison.label_agreement == 1


def test_compare_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match=r"shape \(4, 2\), got \(3, 2\)"):
        verification.compare(REFERENCE, REFERENCE[:3])
    with pytest.raises(ValueError, match="expected finite values"):
        verification.compare(REFERENCE, REFERENCE * np.nan)


def _verify(content, outputs, variant="float32", max_metric_drop=1.0):
    return verification.verify(
        variant,
        content,
        outputs,
        REFERENCE,
        LABELS,
        ("accuracy",),
        max_metric_drop,
    )


def test_verdict_on_the_metric(float_model):
    outputs = REFERENCE.copy()
    outputs[2] = [0.4, 0.6]
    verdict = _verify(float_model, outputs, max_metric_drop=24.9)
    assert verdict.metrics == {"accuracy": 0.75}
    assert verdict.drops == {"accuracy": 25.0}
    assert verdict.failures[0] == (
        "accuracy drops by 25.00 points, allowed 24.9"
    )
    verdict = _verify(float_model, outputs, max_metric_drop=25.0)
    assert not any("accuracy" in why for why in verdict.failures)


def test_float32_must_equal_keras(float_model):
    verdict = _verify(float_model, REFERENCE + [0.0002, -0.0002])
    assert verdict.failures == (
        "probabilities differ by 0.0002, allowed 0.0001",
    )
    assert _verify(float_model, REFERENCE + 1e-7).failures == ()


def test_float_file_is_no_int8_file(float_model):
    verdict = _verify(float_model, REFERENCE, variant="int8")
    for name in ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D", "GATHER"):
        assert any(f"{name} in FLOAT32" in why for why in verdict.failures)


def test_broken_file(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"not a model")
    inputs = small_models.make_inputs(small_models.CONFIGS["tiny"], 1)
    with pytest.raises(ValueError, match="model.tflite"):
        verification.predict_tflite(str(path), inputs)


def test_census_counts_operators_by_format(float_model):
    census = model_file.ModelFile(float_model).census()
    assert census["GATHER"] == {"FLOAT32": 2}
    assert census["CAST"] == {"CONVERSION": 1}
    assert census["SOFTMAX"] == {"FLOAT32": 3}
