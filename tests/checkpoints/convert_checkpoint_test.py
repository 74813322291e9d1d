"""The binary, and files that are not what they should be."""

import functools
import json
import os
import shutil
import subprocess
import sys

import networks
import pytest
import small_networks

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.fine_tuning import classification

_CONFIG = networks.CONFIGS["mobilebert"]
# Embeddings, two blocks, masked LM.
_NUM_WEIGHTS = 7 + 2 * 46 + 6


def _write(folder, name, head="pretraining", config=_CONFIG, **kwargs):
    checkpoint = networks.make_checkpoint(config, head, **kwargs)
    conversion.write(checkpoint, str(folder), name)
    return str(folder)


def _run(*args):
    return subprocess.run(
        [sys.executable, "-m", "mobilebert_tf.convert_checkpoint", *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_binary_converts_reports_and_makes_a_usable_model(tmp_path):
    source = _write(tmp_path / "tf1", "tf1")
    target = str(tmp_path / "own")
    result = _run(
        "--from=tf1",
        "--to=mobilebert_tf",
        f"--input={source}",
        f"--output={target}",
        "--head=masked_lm",
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"loaded: {_NUM_WEIGHTS} weights",
        "ignored, not part of the head masked_lm: 2: "
        "cls/seq_relationship/output_bias, cls/seq_relationship/output_weights",
        f"wrote {target}",
    ]
    report = json.loads((tmp_path / "own" / "conversion.json").read_text())
    assert (report["format"], report["head"]) == ("mobilebert_tf", "masked_lm")
    assert len(report["loaded"]) == _NUM_WEIGHTS
    trained = model_directory.load(target)
    expected = conversion.build_model(conversion.read(source))
    inputs = small_networks.make_inputs(_CONFIG)
    small_networks.assert_close(
        trained.model(inputs)["masked_lm_logits"],
        expected(inputs)["masked_lm_logits"],
    )


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            ["--to=garden", "--input=absent"],
            "--input=absent: no checkpoint (absent.index) found: no such file",
        ),
        (
            ["--to=onnx", "--input=absent"],
            "flag --to=onnx: value should be one of "
            "<tf1|huggingface|garden|mobilebert_tf> (--helpshort lists the "
            "flags)",
        ),
    ],
)
def test_mistakes_are_one_line(flags, message, tmp_path):
    output = tmp_path / "out"
    result = _run(*flags, f"--output={output}")
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == f"error: {message}"
    assert "Traceback" not in result.stderr
    assert not output.exists()


def test_library_refuses_unknown_formats_and_heads(tmp_path):
    source = _write(tmp_path / "a", "tf1")
    with pytest.raises(ValueError, match="format: expected one of .* 'onnx'"):
        conversion.read(source, "onnx")
    with pytest.raises(ValueError, match="format: expected one of .* 'onnx'"):
        conversion.convert(source, str(tmp_path / "b"), "auto", "onnx")
    with pytest.raises(ValueError, match="--head: expected one of .* 'mlm'"):
        conversion.read(source, head="mlm")


def test_output_must_be_new(tmp_path):
    source = _write(tmp_path / "a", "tf1")
    target = tmp_path / "b"
    target.mkdir()
    conversion.convert(source, str(target), "auto", "huggingface")
    before = sorted(os.listdir(target))
    with pytest.raises(
        ValueError, match="--output=.*: expected a new or empty"
    ):
        conversion.convert(source, str(target), "auto", "garden")
    assert sorted(os.listdir(target)) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="--output=.* no directory"):
        conversion.convert(source, str(tmp_path / "file"), "auto", "tf1")


def test_output_through_a_link(tmp_path):
    source = _write(tmp_path / "a", "tf1")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "b").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "disk" / "b")
    conversion.convert(source, str(tmp_path / "b"), "auto", "huggingface")
    assert (tmp_path / "b").is_symlink()
    assert "config.json" in os.listdir(tmp_path / "disk" / "b")
    assert os.listdir(tmp_path / "disk") == ["b"]


def test_output_that_cannot_be_replaced(tmp_path, monkeypatch):
    """Told before anything is read: the source does not even exist."""
    target = tmp_path / "parent" / "b"
    target.mkdir(parents=True)
    convert = functools.partial(
        conversion.convert, "absent", str(target), "tf1", "garden"
    )
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "ismount", lambda path: path == str(target))
        with pytest.raises(ValueError, match=f"={target}: a mount point"):
            convert()
    monkeypatch.setattr(  # the superuser may write to any folder
        os, "access", lambda path, mode: path != str(target.parent)
    )
    with pytest.raises(
        ValueError, match=f"={target}: .* permission denied in {target.parent}"
    ):
        convert()


@pytest.mark.parametrize(
    "task, message",
    [
        ("", "the model names no task .*: give --task_name and --data_dir"),
        ("SST-2", "labels label 0, label 1 but .* again with --labels=0,1"),
    ],
)
def test_evaluation_of_a_converted_classifier(task, message, tmp_path):
    """It says how the model gets a task and the labels of its data."""
    checkpoint = networks.make_checkpoint(
        _CONFIG, "sequence_classification", labels=2
    )
    path = str(tmp_path / "own")
    conversion.write(checkpoint, path, "mobilebert_tf")
    params = classification_config.classification()
    params.task.task_name = task
    with pytest.raises(ValueError, match=message):
        classification.run(params, path, do_train=False, do_eval=True)


def test_nothing_is_left_of_a_failed_conversion(tmp_path):
    source = _write(tmp_path / "a", "tf1", vocabulary=None)
    with pytest.raises(ValueError, match="needs a vocabulary, none is known"):
        conversion.convert(source, str(tmp_path / "b"), "tf1", "mobilebert_tf")
    teacher = _write(tmp_path / "t", "tf1", config=networks.CONFIGS["teacher"])
    with pytest.raises(ValueError, match="such as the teacher"):
        conversion.convert(teacher, str(tmp_path / "c"), "tf1", "huggingface")
    assert sorted(os.listdir(tmp_path)) == ["a", "t"]


@pytest.mark.parametrize(
    "vocabulary, message",
    [
        (networks.VOCABULARY + b"more\n", "vocab.txt has 41 entries but .* 40"),
        (b"a\nb\n", r"vocab.txt.*\[PAD\].*; give --vocab_file"),
    ],
)
def test_vocabulary_must_fit_a_model_folder(vocabulary, message, tmp_path):
    source = _write(tmp_path / "a", "tf1", vocabulary=vocabulary)
    with pytest.raises(ValueError, match=message) as error:
        conversion.convert(source, str(tmp_path / "b"), "tf1", "mobilebert_tf")
    assert ".b." not in str(error.value)  # the temporary folder


@pytest.mark.parametrize("name", ["tf1", "garden", "mobilebert_tf"])
def test_truncated_tensorflow_files(name, tmp_path):
    path = _write(tmp_path / "a", name)
    (data,) = (tmp_path / "a").glob("*.data-00000-of-00001")
    os.truncate(data, data.stat().st_size // 2)
    with pytest.raises(ValueError, match="not a whole checkpoint: "):
        conversion.read(path)
    (index,) = (tmp_path / "a").glob("*.index")
    os.truncate(index, 10)
    with pytest.raises(ValueError, match="not a whole checkpoint: "):
        conversion.read(path)


def test_damaged_safetensors(tmp_path):
    path = _write(tmp_path / "a", "huggingface")
    weights = tmp_path / "a" / "model.safetensors"
    whole = weights.read_bytes()
    for data in (whole[:-100], whole[:50], b"", b"no tensors at all"):
        weights.write_bytes(data)
        with pytest.raises(ValueError, match="not a whole safetensors file"):
            conversion.read(path)
    os.remove(weights)
    with pytest.raises(ValueError, match="no model.safetensors or pytorch_mod"):
        conversion.read(path)


@pytest.mark.parametrize(
    "name, wrong",
    [("tf1", "garden"), ("garden", "tf1"), ("tf1", "huggingface")],
)
def test_wrong_source_format(name, wrong, tmp_path):
    path = _write(tmp_path / "a", name)
    with pytest.raises(ValueError, match="expected|no model.safetensors"):
        conversion.read(path, wrong)


def test_older_checkpoint_of_a_model_folder(tmp_path):
    path = _write(tmp_path / "a", "mobilebert_tf")
    for file in (tmp_path / "a").glob("ckpt-1.*"):
        shutil.copy(file, str(file).replace("ckpt-1", "ckpt-0"))
    os.remove(tmp_path / "a" / "ckpt-1.index")
    checkpoint = conversion.read(os.path.join(path, "ckpt-0"))
    assert checkpoint.head == "pretraining"
