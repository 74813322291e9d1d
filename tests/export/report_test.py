"""What the report says of the files of a small model."""

import dataclasses
import html
import json

import pytest
import small_models

from export import delegation
from export import exporter
from export import outliers
from export import report


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="module")
def result(output, tmp_path_factory):
    model_dir = str(tmp_path_factory.mktemp("model"))
    small_models.write_model_directory(model_dir)
    exported = exporter.export(
        exporter.Options(
            model_dir=model_dir,
            output=str(output),
            variants=["float32", "int8", "saved_model"],
            calibration_examples=40,
            max_metric_drop=100.0,
            measure_secs=0.1,
        )
    )
    report.write(exported, str(output))
    return exported


@pytest.fixture(scope="module")
def told(result, output):
    variants = json.loads((output / "report.json").read_text())["variants"]
    return {variant["name"]: variant for variant in variants}


def test_cost_of_files(told):
    for name in ("float32", "int8"):
        cost = told[name]["cost"]
        assert 0 < cost["min_ms"] <= cost["median_ms"]
        assert cost["peak_memory_bytes"] > 0
    assert told["float32"]["latency_ratio"] == 1.0
    assert told["int8"]["latency_ratio"] == pytest.approx(
        told["int8"]["cost"]["min_ms"] / told["float32"]["cost"]["min_ms"]
    )
    assert told["saved_model"]["cost"] == {"not_measured": "not measured"}
    assert told["saved_model"]["latency_ratio"] is None


def test_xnnpack_is_what_a_fresh_load_says(told, result):
    for variant in result.variants[:2]:
        found = delegation.delegation(variant.path)
        assert told[variant.name]["xnnpack"] == dataclasses.asdict(found)
    assert "xnnpack" not in told["saved_model"]


def test_layers_of_int8_only(told):
    errors = told["int8"]["layer_errors"]
    assert errors["num_examples"] == 8
    assert len(errors["tensors"]) > 50
    assert "layer_errors" not in told["float32"]
    # JSON has no infinity: what is exact is null.
    softmax = [t for t in errors["tensors"] if t["operator"] == "SOFTMAX"]
    for tensor in softmax:
        local = tensor["local_sqnr_db"]
        assert local is None or local > 100


def test_text(result):
    lines = report.text(result).splitlines()
    (worst,) = (line for line in lines if "errors of single" in line)
    assert worst.startswith("int8: largest errors of single operators: ")
    first = result.variants[1].verdict.layer_errors.worst(1)[0]
    assert f"{first.short_name} {first.local_sqnr_db:.1f} dB, " in worst
    assert "float32: XNNPACK leaves out 1 CAST, 2 GATHER" in "\n".join(lines)
    header, rows = report.cost_table(result)
    assert [row[0] for row in rows] == ["float32", "int8", "saved_model"]
    assert all(len(row) == len(header) for row in rows)
    assert rows[0][header.index("of float32")] == "1.000"


def test_page(result, output):
    page = html.unescape((output / "report.html").read_text())
    assert "Operators that err most" in page
    assert "operator alone" in page
    # Score over latency; per variant the outputs, of int8 the layers.
    assert page.count("<svg") == 1 + 3 + 1
    assert "Outliers" not in page


def test_outliers(result, tmp_path):
    found = outliers.Outlier("layer_9/add_1", -2.5e7, 0.5, 3, 0, 77)
    changed = dataclasses.replace(result, outliers=(found,))
    assert "outlier: layer_9/add_1: -2.5e+07 (token 0, channel 77 of" in (
        report.text(changed)
    )
    report.write(changed, str(tmp_path))
    (listed,) = json.loads((tmp_path / "report.json").read_text())["outliers"]
    assert listed["channel"] == 77
    assert listed["ratio"] == 5e7
    page = (tmp_path / "report.html").read_text()
    assert "layer_9/add_1" in page and "overflows" in page


def test_file_that_was_not_measured(result):
    variants = [
        dataclasses.replace(variant, cost="has a dynamic shape")
        for variant in result.variants
    ]
    changed = dataclasses.replace(result, variants=tuple(variants))
    assert "int8: latency: has a dynamic shape" in report.text(changed)
    assert report.latency_ratio(variants[1], changed) is None
    assert 0 < report.size_ratio(variants[1], changed) < 1
