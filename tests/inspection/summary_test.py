"""The binary: what it prints and writes, and its one-line errors."""

import dataclasses
import json
import os
import subprocess
import sys

import inspected_networks
import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.inspection import inspector
from mobilebert_tf.inspection import report
from mobilebert_tf.inspection import text_report

_WORDS = [a + b for a in "bdfgk" for b in ("a", "e", "i", "o", "u", "an", "on")]

# Calls main() once per set of flags and prints what a user would see; the last
# ones start the binary in earnest, which ends the process.
_DRIVER = """
import json, sys
from absl import flags
from absl.testing import flagsaver
from mobilebert_tf import cli, summary
*cases, last = json.load(sys.stdin)
flags.FLAGS(["test"])
for case in cases:
    with flagsaver.flagsaver(**case):
        try:
            summary.main([])
            print("no error")
        except (ValueError, OSError) as error:
            print(cli.one_line(error))
sys.stdout.flush()
sys.argv = ["summary", *last]
cli.run(summary.main)
"""


def _run(*arguments, stdin=None):
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def _make_folder(folder, name, spoil=lambda model: None):
    """A model folder with a random classifier."""
    config = inspected_networks.CONFIGS[name]
    vocab_file = folder.parent / "vocab.txt"
    vocab_file.write_text(
        "\n".join([*tokenization.SPECIAL_TOKENS, *_WORDS]) + "\n"
    )
    info = model_directory.ModelInfo(
        model_directory.SEQUENCE_CLASSIFICATION, 12, labels=("no", "yes")
    )
    model_directory.write(str(folder), config, info, str(vocab_file))
    model = model_directory.make_model(config, info)
    model.build_weights()
    inspected_networks.randomize(model)
    spoil(model)
    tf.train.Checkpoint(model=model).save(str(folder / "ckpt"))
    return str(folder)


@pytest.fixture(scope="module", name="workspace")
def _workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("summary")
    (folder / "texts.txt").write_text("ba de fi\ngon\nka ko ku kan kon\n")
    _make_folder(folder / "model", "mobilebert")
    return folder


def test_model_and_texts(workspace):
    output = workspace / "report.json"
    result = _run(
        "-m",
        "mobilebert_tf.summary",
        f"--model_dir={workspace}/model",
        f"--text_file={workspace}/texts.txt",
        "--seq_length=10",
        f"--output={output}",
    )
    assert result.returncode == 0, result.stderr
    written = json.loads(output.read_text())
    texts = written["texts"]
    assert texts["texts"] == [["ba de fi"], ["gon"], ["ka ko ku kan kon"]]
    assert texts["tokens"][1] == ["[CLS]", "gon", "[SEP]"]

    trained = model_directory.load(str(workspace / "model"))
    ids = [[trained.tokenizer.ids[piece] for piece in texts["tokens"][1]]]
    alone = trained.model({"input_word_ids": tf.constant(ids)})
    names = [(a["name"], a["block"]) for a in texts["activations"]]
    assert len(names) == len(set(names)) == 1 + 2 * 17
    embeddings = texts["activations"][names.index(("embeddings", None))]
    # What reads no padding is the same alone: here the first two tokens.
    first = alone["encoder_outputs"][0].numpy()[0, :2]
    assert embeddings["minimum"] <= first.min()
    assert embeddings["maximum"] >= first.max()
    assert embeddings["largest"] == max(
        -embeddings["minimum"], embeddings["maximum"]
    )
    place = embeddings["place"]
    token = texts["tokens"][place["text"]][place["position"]]
    assert place["token"] == token

    totals = written["cost"]["totals"]
    assert totals["network"]["parameters"] == trained.model.count_params()
    parameters = sum(part["parameters"] for part in written["weights"])
    assert parameters == trained.model.count_params()
    assert written["config"] == trained.config.to_dict()
    assert not written["pad_row"]["is_invariant"]
    assert texts["pad_effect"]["num_texts"] == 3
    assert texts["pad_effect"]["embeddings"] > 0.01

    shown = result.stdout
    assert f"{trained.model.count_params():,}" in shown
    assert "all weights are finite" in shown
    assert "the last real token reads the [PAD] row as its next" in shown
    assert "activations on 3 texts, 15 tokens" in shown
    for name in ("block 1", "feed-forward 3 inner", "attention scores"):
        assert f"\n{name} " in shown


def test_preset_from_the_config_alone():
    """Published figures in what is printed; nothing is built."""
    summary = inspector.inspect(inspector.Options(preset="ib_bert_large"))
    assert summary.source.model is None
    assert (summary.weights, summary.pad_row, summary.on_texts) == (None,) * 3
    shown = "\n".join(text_report.lines(summary))
    for figure in ("294,205,184", "262,656", "306,483,516", "12,076,544"):
        assert figure in shown
    assert "75.75" in shown  # GFLOPs
    assert "inverted bottlenecks, a teacher" in shown
    assert "feed-forward 0 [1024, 4096], 4,194,304 (1.4%)" in shown
    written = json.loads(json.dumps(report.to_dict(summary)))
    assert written["cost"]["totals"]["encoder"]["parameters"] == 294_467_840
    assert written["weights"] is None


@pytest.mark.parametrize("target_format", ["tf1", "huggingface", "garden"])
def test_checkpoint_of_any_format(workspace, tmp_path, target_format):
    """The same weights say the same, wherever they come from."""
    folder = str(workspace / "model")
    target = str(tmp_path / "converted")
    conversion.convert(folder, target, "auto", target_format, head="encoder")
    shared = {"seq_length": 12, "text": "ba de fi"}
    expected = report.to_dict(
        inspector.inspect(inspector.Options(model_dir=folder, **shared))
    )
    actual = report.to_dict(
        inspector.inspect(inspector.Options(checkpoint=target, **shared))
    )
    assert actual["head"] == "encoder"
    assert actual["accounting"][0].startswith("loaded: ")
    for key in ("texts", "pad_row", "structure"):
        assert actual[key] == expected[key]
    assert actual["weights"] == expected["weights"][:-1]  # no classifier
    assert (
        actual["cost"]["parts"]["block"] == (expected["cost"]["parts"]["block"])
    )


def test_checkpoint_without_vocabulary(workspace, tmp_path):
    target = tmp_path / "converted"
    conversion.convert(str(workspace / "model"), str(target), "auto", "tf1")
    (target / "vocab.txt").unlink()
    options = inspector.Options(checkpoint=str(target), seq_length=12)
    assert inspector.inspect(options).pad_row.pad_id == 0
    options = dataclasses.replace(options, text="ba")
    with pytest.raises(ValueError, match="none is known; give --vocab_file"):
        inspector.inspect(options)
    vocab_file = workspace / "vocab.txt"
    options = dataclasses.replace(options, vocab_file=str(vocab_file))
    assert inspector.inspect(options).on_texts.pieces == [
        ["[CLS]", "ba", "[SEP]"]
    ]
    short = tmp_path / "short.txt"
    short.write_text("\n".join(tokenization.SPECIAL_TOKENS))
    options = dataclasses.replace(options, vocab_file=str(short))
    with pytest.raises(ValueError, match="its vocabulary has 5 entries but"):
        inspector.inspect(options)


def test_config_file_is_the_preset_it_holds(tmp_path):
    path = str(tmp_path / "bert_config.json")
    config = inspected_networks.CONFIGS["tiny"]
    config.to_json_file(path)
    summary = inspector.inspect(
        inspector.Options(bert_config_file=path, seq_length=8)
    )
    assert summary.source.config == config
    assert "read the input bottleneck" in "\n".join(text_report.lines(summary))


def test_what_is_not_finite_is_loud_and_no_number_in_json(tmp_path):
    def spoil(model):
        bias = model.encoder.blocks[0].output_bottleneck.dense.bias
        bias.assign(np.full(bias.shape, np.nan))

    folder = _make_folder(tmp_path / "model", "mobilebert", spoil)
    summary = inspector.inspect(
        inspector.Options(model_dir=folder, text="ba\tko ku", seq_length=12)
    )
    shown = text_report.lines(summary)
    loud = [line for line in shown if line.startswith("NOT FINITE: ")]
    assert loud[0] == (
        "NOT FINITE: block 0 output bottleneck: 24 NaN, 0 infinite of 360 "
        "weights"
    )
    assert "NOT FINITE: block 0 output: 144 of 144 values" in loud
    # All that follows is spoilt too; not all of it is listed.
    assert "NOT FINITE: 14 more" in loud
    path = tmp_path / "report.json"
    report.write(summary, str(path))
    texts = json.loads(path.read_text(), parse_constant=pytest.fail)["texts"]
    assert texts["texts"] == [["ba", "ko ku"]]
    output = next(
        a
        for a in texts["activations"]
        if (a["name"], a["block"]) == ("output", 0)
    )
    assert (output["largest"], output["place"]) == (None, None)
    assert output["num_not_finite"] == 144


def test_released_magnitudes_are_flagged(tmp_path):
    """A [CLS] of 1e7, as the released weights have it, in one channel."""

    def spoil(model):
        norm = model.encoder.blocks[1].output_bottleneck.normalization
        values = norm.gamma.numpy()
        values[5] = 1e7
        norm.gamma.assign(values)

    folder = _make_folder(tmp_path / "model", "mobilebert", spoil)
    summary = inspector.inspect(
        inspector.Options(model_dir=folder, text="ba ko", seq_length=12)
    )
    ranges = {(a.name, a.block): a.range for a in summary.on_texts.activations}
    last = ranges.pop(("output", 1))
    assert last.channel == 5
    assert last.beyond_float16 and last.beyond_int8
    assert not any(r.beyond_float16 for r in ranges.values())
    (line,) = [
        line
        for line in text_report.lines(summary)
        if line.startswith("block 1 ")
    ]
    assert line.endswith("float16, int8")


def test_number_of_texts(workspace):
    summary = inspector.inspect(
        inspector.Options(
            model_dir=str(workspace / "model"),
            text_file=str(workspace / "texts.txt"),
            seq_length=12,
            num_texts=2,
        )
    )
    assert [e.text_a for e in summary.on_texts.examples] == ["ba de fi", "gon"]


@pytest.mark.parametrize("preset, length", [("mobilebert", 128), (None, 12)])
def test_default_length_is_one_that_the_network_has(workspace, preset, length):
    source = {"preset": preset}
    if preset is None:
        source = {"model_dir": str(workspace / "model"), "text": "ba de fi"}
    summary = inspector.inspect(inspector.Options(**source))
    assert summary.cost.seq_length == length


def test_mistakes(workspace):
    """Each is one line; nothing is written."""
    folder = str(workspace)
    model = {"model_dir": f"{folder}/model", "seq_length": 12}
    cases = [
        ({}, "expected exactly one of --model_dir, --preset, "),
        ({"preset": "micro", "model_dir": "m"}, "got --model_dir and --preset"),
        ({"preset": "micr"}, "unknown preset 'micr', expected one of "),
        (
            {"preset": "micro", "seq_length": 129},
            "--seq_length: expected 1 to max_position_embeddings=128, got 129",
        ),
        ({"preset": "micro", "seq_length": 0}, "=128, got 0"),
        (
            {"preset": "micro", "text": "a"},
            "--text needs weights, which --preset has not; give --model_dir",
        ),
        (
            {"bert_config_file": "c", "text_file": "t"},
            "--text_file needs weights, which --bert_config_file has not",
        ),
        (
            {"bert_config_file": f"{folder}/absent.json"},
            f"--bert_config_file={folder}/absent.json: expected a file",
        ),
        (
            {"model_dir": f"{folder}/absent"},
            f"--model_dir={folder}/absent: expected a directory, got no such",
        ),
        ({"model_dir": folder}, f"{folder}: not a model folder"),
        (
            {**model, "text_file": f"{folder}/absent.txt"},
            f"--text_file={folder}/absent.txt: expected a file, got no such",
        ),
        (
            {**model, "text_file": f"{folder}/texts.txt", "text": "a"},
            "expected one of --text and --text_file, got both",
        ),
        ({**model, "text": "a\tb\tc"}, "--text: expected a text, or two"),
        ({**model, "num_texts": 0}, "--num_texts: expected at least 1, got 0"),
        ({**model, "vocab_file": "v"}, "--vocab_file needs --checkpoint, got"),
        (
            {**model, "do_lower_case": False},
            "--do_lower_case needs --checkpoint, got --model_dir",
        ),
        (
            {**model, "output": folder},
            f"--output={folder}: expected a file, got a directory",
        ),
        ({"checkpoint": f"{folder}/absent"}, f"--checkpoint={folder}/absent: "),
    ]
    last = [f"--model_dir={folder}/model", "--seq_length=13", "--text=ba"]
    last.append(f"--output={folder}/unwritten.json")
    stdin = json.dumps([*(flags for flags, _ in cases), last])
    result = _run("-c", _DRIVER, stdin=stdin)
    lines = result.stdout.splitlines()
    assert len(lines) == len(cases), result.stderr
    for line, (_, message) in zip(lines, cases, strict=True):
        assert message in line
    assert result.returncode == 1
    assert result.stderr == (
        "error: --seq_length: expected 1 to max_position_embeddings=12, "
        "got 13\n"
    )
    assert not (workspace / "unwritten.json").exists()
