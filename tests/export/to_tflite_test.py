"""The binary, end to end, and every way it can be misused."""

import dataclasses
import html
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import small_models
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from export import exporter
from export import inference_graph
from export import quantization
from export import report
from export import verification
from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import conversion

BINARY = pathlib.Path(exporter.__file__).with_name("to_tflite.py")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    """The folder of a small classifier with its task; not to be changed."""
    folder = tmp_path_factory.mktemp("model")
    return small_models.write_model_directory(str(folder))


@pytest.fixture
def own_model_dir(model_dir, tmp_path):
    """A copy of `model_dir`, to be broken."""
    folder = tmp_path / "model"
    shutil.copytree(model_dir, folder)
    info_file = folder / model_directory.INFO_FILE
    info_file.write_text(
        info_file.read_text().replace(str(model_dir), str(folder))
    )
    return folder


def _run_binary(*flags):
    return subprocess.run(
        [sys.executable, str(BINARY), *flags],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )


def _export(model_dir, tmp_path, **options):
    return exporter.export(
        exporter.Options(str(model_dir), str(tmp_path / "out"), **options)
    )


@pytest.fixture(scope="module")
def exported(model_dir, tmp_path_factory):
    """(output folder, finished process) of the binary with its defaults."""
    output = tmp_path_factory.mktemp("exported")
    process = _run_binary(
        f"--model_dir={model_dir}",
        f"--output={output}",
        # A point is more than one of the 120 examples.
        "--max_metric_drop=2",
    )
    return output, process


def test_binary_succeeds_with_its_table(exported):
    _, process = exported
    assert process.returncode == 0, process.stderr
    table = process.stdout.splitlines()
    for name in ("Keras", "float32", "int8"):
        assert any(line.startswith(f"{name} ") for line in table)
    assert any("Calibrating: 120 of 120" in line for line in table)
    assert not any("FAIL" in line for line in table)
    assert (
        "int8: operators in float32: 2 ADD, 1 FULLY_CONNECTED, 1 MUL, "
        "3 SOFTMAX, 1 SUB" in table
    )


def test_files(exported):
    output, _ = exported
    assert sorted(os.listdir(output)) == [
        "labels.txt",
        "model_float32.tflite",
        "model_int8.tflite",
        "report.html",
        "report.json",
        "vocab.txt",
    ]
    assert (output / "labels.txt").read_text() == "0\n1\n"


def test_vocabulary_is_the_models(exported, model_dir):
    output, _ = exported
    expected = pathlib.Path(model_dir, "vocab.txt").read_text()
    assert (output / "vocab.txt").read_text() == expected


def test_json_report_agrees_with_the_files(exported, model_dir):
    """Accuracies of the report are those of the files, recomputed here."""
    output, _ = exported
    told = json.loads((output / "report.json").read_text())
    assert told["num_rows"] == {"dev": 120}
    assert told["max_seq_length"] == small_models.SEQUENCE_LENGTH
    examples, labels = _dev_set(model_dir)
    for variant in told["variants"]:
        path = output / variant["file"]
        assert variant["bytes"] == path.stat().st_size
        run = litert.Interpreter(str(path)).get_signature_runner(
            inference_graph.SIGNATURE
        )
        predictions = [
            run(**example)["probabilities"].argmax() for example in examples
        ]
        accuracy = np.mean(np.equal(predictions, labels))
        assert variant["metrics"]["accuracy"] == pytest.approx(accuracy)
        drop = 100 * (told["keras"]["metrics"]["accuracy"] - accuracy)
        assert variant["drops_in_points"]["accuracy"] == pytest.approx(drop)
        assert variant["passed"] and variant["failures"] == []
    float32, int8 = told["variants"]
    assert float32["size_ratio"] == 1.0
    assert int8["size_ratio"] == int8["bytes"] / float32["bytes"] < 1.0
    assert float32["outputs"]["probabilities"]["max_difference"] < 1e-5
    assert int8["outputs"]["probabilities"]["sqnr_db"] > 20
    assert (
        int8["outputs"]["probabilities"]["max_difference"] > 1e-5
    )  # is quantised
    assert int8["census"]["BATCH_MATMUL"] == {"INT8": 4}
    assert int8["integer_shares"]["FULLY_CONNECTED"] == 30 / 31
    assert int8["integer_shares"]["ADD"] == 14 / 16
    assert int8["float_operators"] == {
        "ADD": 2,
        "FULLY_CONNECTED": 1,
        "MUL": 1,
        "SOFTMAX": 3,
        "SUB": 1,
    }


def _dev_set(model_dir):
    trained = model_directory.load(model_dir)
    rows = pathlib.Path(model_dir, "task", "dev.tsv").read_text().splitlines()
    examples, labels = [], []
    for row in rows[1:]:
        sentence, label = row.split("\t")
        (ids,) = trained.tokenizer.tokenize([sentence]).to_list()
        ids = [trained.tokenizer.cls_id, *ids, trained.tokenizer.sep_id]
        padding = [0] * (small_models.SEQUENCE_LENGTH - len(ids))
        columns = {
            "input_word_ids": ids + padding,
            "input_mask": [1] * len(ids) + padding,
            "input_type_ids": [0] * small_models.SEQUENCE_LENGTH,
        }
        examples.append(
            {name: np.array([v], np.int32) for name, v in columns.items()}
        )
        labels.append(int(label))
    return examples, labels


def test_html_report_shows_census_and_plots(exported):
    output, _ = exported
    page = (output / "report.html").read_text()
    for text in ("float32", "int8", "BATCH_MATMUL", "INT8", "accuracy"):
        assert text in page
    assert page.count("<svg") == 4


def test_length_and_variants_by_flag(model_dir, tmp_path):
    result = _export(
        model_dir,
        tmp_path,
        variants=["float32"],
        max_seq_length=12,
        data=dict(data_dir=os.path.join(model_dir, "task"), task_name="sst-2"),
    )
    (variant,) = result.variants
    assert not variant.failures
    assert not (tmp_path / "out" / "model_int8.tflite").exists()
    interpreter = litert.Interpreter(variant.path)
    for detail in interpreter.get_input_details():
        assert list(detail["shape"]) == [1, 12]


def test_drop_beyond_the_threshold_fails_but_is_reported(model_dir, tmp_path):
    """A drop of 0 exceeds an allowance of -1 point."""
    output = tmp_path / "out"
    process = _run_binary(
        f"--model_dir={model_dir}",
        f"--output={output}",
        "--variants=float32",
        "--max_metric_drop=-1",
    )
    assert process.returncode == 1
    errors = process.stderr.strip().splitlines()
    assert errors[-1] == "error: not fit for use: float32 (see above)"
    assert "float32: accuracy drops by 0.00 points" in process.stdout
    told = json.loads((output / "report.json").read_text())
    assert told["variants"][0]["passed"] is False
    assert "FAIL: accuracy drops" in (output / "report.html").read_text()


@pytest.mark.parametrize(
    "error, reason",
    [
        (ValueError("no such scale"), "no such scale"),
        (KeyError("serve"), "KeyError: 'serve'"),
        (TypeError("not a number"), "TypeError: not a number"),
        (
            tf.errors.ResourceExhaustedError(None, None, "no memory"),
            "no memory",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_failed_variant_leaves_the_others(
    model_dir, tmp_path, monkeypatch, error, reason
):
    def refuse(*args):
        raise error

    monkeypatch.setattr(quantization, "quantize", refuse)
    stale = tmp_path / "out" / "model_int8.tflite"
    stale.parent.mkdir()
    stale.write_bytes(b"of an earlier run")
    result = _export(
        model_dir, tmp_path, variants=["int8", "float32"], max_metric_drop=2
    )
    int8, float32 = result.variants
    assert int8.failures == (reason,)
    assert not os.path.exists(int8.path)
    assert float32.failures == ()
    assert os.path.exists(float32.path)
    report.write(result, str(tmp_path / "out"))
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [v["passed"] for v in told["variants"]] == [False, True]
    assert f"int8: {reason}" in report.text(result)
    page = html.unescape((tmp_path / "out" / "report.html").read_text())
    assert f"FAIL: {reason}" in page


def test_output_that_cannot_be_written(model_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(verification, "evaluate", None)  # not reached
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ValueError, match="--output=.*/out is no directory"):
        _export(model_dir, tmp_path)


def test_errors_of_the_binary_are_one_line(tmp_path):
    process = _run_binary(
        f"--model_dir={tmp_path}/absent", f"--output={tmp_path}/out"
    )
    assert process.returncode == 1
    assert process.stderr.strip().splitlines()[-1] == (
        f"error: --model_dir={tmp_path}/absent: expected a directory, got no "
        "such directory"
    )


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(variants=["int4"]), "unknown variant 'int4', expected .*int8"),
        (dict(variants=[]), "variants: got none"),
        (dict(output=""), "--output is required"),
        (dict(max_seq_length=21), "max_position_embeddings=20, got 21"),
        (dict(max_seq_length=0), "max_position_embeddings=20, got 0"),
        (dict(calibration_examples=0), "examples: expected at least 1, got 0"),
        (dict(num_threads=0), "num_threads: expected at least 1, got 0"),
        (dict(data={"task_name": "SST-3"}), "got 'SST-3', expected one of"),
        (dict(data={"data_dir": "/absent"}), "/absent: expected a directory"),
        (
            dict(data={"predict_file": "a.json"}),
            "--predict_file: got it for .* sequence_classification, expected",
        ),
        (dict(params_override="task.doc_stride=1"), "doc_stride"),
    ],
)
def test_wrong_options(model_dir, tmp_path, options, message):
    options = dataclasses.replace(
        exporter.Options(model_dir, str(tmp_path / "out")), **options
    )
    with pytest.raises(ValueError, match=message):
        exporter.export(options)
    assert not (tmp_path / "out").exists()


def test_no_checkpoint(own_model_dir, tmp_path):
    for path in [*own_model_dir.glob("ckpt-*"), own_model_dir / "checkpoint"]:
        path.unlink()
    with pytest.raises(ValueError, match="no checkpoint"):
        _export(own_model_dir, tmp_path)


def test_vocabulary_of_another_size(own_model_dir, tmp_path):
    with open(own_model_dir / "vocab.txt", "a", encoding="utf-8") as stream:
        stream.write("surplus\n")
    with pytest.raises(ValueError, match="41 entries .*vocab_size is 40"):
        _export(own_model_dir, tmp_path)


def test_pretraining_model(tmp_path):
    folder = small_models.write_model_directory(
        str(tmp_path / "model"), head=model_directory.PRETRAINING
    )
    with pytest.raises(
        ValueError, match="expected a model .*got head 'pretraining'; fine-tune"
    ):
        _export(folder, tmp_path)


def test_labels_of_another_task(own_model_dir, tmp_path):
    path = own_model_dir / model_directory.INFO_FILE
    fields = json.loads(path.read_text())
    fields["labels"] = ["no", "yes"]
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="labels no, yes but SST-2 has 0, 1"):
        _export(own_model_dir, tmp_path)


def test_hugging_face_fine_tune_to_tflite(model_dir, tmp_path):
    """Converted as docs/checkpoints.md has it, it exports as before."""
    theirs, named, ours = (str(tmp_path / name) for name in "abc")
    conversion.convert(
        model_dir, theirs, "auto", "huggingface", labels=("bad", "good")
    )
    conversion.convert(theirs, named, "auto", "mobilebert_tf")
    with pytest.raises(ValueError, match="names no task .*give --task_name"):
        _export(named, tmp_path)
    data_dir = os.path.join(model_dir, "task")
    task = dict(data=dict(task_name="SST-2", data_dir=data_dir))
    with pytest.raises(
        ValueError, match="labels bad, good but .* again with --labels=0,1"
    ):
        _export(named, tmp_path, **task)
    conversion.convert(theirs, ours, "auto", "mobilebert_tf", labels=("0", "1"))
    converted = _export(ours, tmp_path, variants=["float32"], **task)
    assert converted.max_seq_length == small_models.SEQUENCE_LENGTH
    assert converted.variants[0].failures == ()
    before = model_directory.load(model_dir).model
    examples, _ = _dev_set(model_dir)
    logits = [before(example)["logits"] for example in examples]
    np.testing.assert_allclose(
        converted.variants[0].verdict.values["probabilities"],
        tf.nn.softmax(tf.concat(logits, 0)),
        atol=1e-5,
    )


def test_missing_training_data_fails_int8_only(own_model_dir, tmp_path):
    os.remove(own_model_dir / "task" / "train.tsv")
    result = _export(own_model_dir, tmp_path, max_metric_drop=2)
    float32, int8 = result.variants
    assert float32.failures == ()
    assert "train.tsv" in int8.failures[0]


def test_missing_verification_data(own_model_dir, tmp_path):
    os.remove(own_model_dir / "task" / "dev.tsv")
    with pytest.raises((ValueError, OSError), match="dev.tsv"):
        _export(own_model_dir, tmp_path)
