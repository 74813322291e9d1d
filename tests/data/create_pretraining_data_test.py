"""The binary as a user runs it; each test is a process of its own.

Flags are global to a process, so the binaries cannot share one.
"""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from mobilebert_tf.data import pretraining

_MODULE = "mobilebert_tf.create_pretraining_data"

# Calls main() once per set of flags and prints what it raises.
_DRIVER = f"""
import json, sys
from absl import flags
from absl.testing import flagsaver
from {_MODULE} import main
flags.FLAGS(["test"])
sys.modules["apache_beam"] = None  # as if it were not installed
for case in json.load(sys.stdin):
    with flagsaver.flagsaver(**case):
        try:
            main([])
            print("no error")
        except (ValueError, OSError) as error:
            print(error)
"""


def _run(module, *arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        **kwargs,
    )


def _table(stdout, heading):
    """Returns the statistics printed below a heading."""
    block = stdout.split(f"{heading}: ")[1]
    rows = re.findall(r"^  +(\S.*?) {2,}([\d.,]+)%?$", block, re.MULTILINE)
    return {name: float(value.replace(",", "")) for name, value in rows[:10]}


def test_learns_holds_out_and_shards(tmp_path, text_file):
    result = _run(
        _MODULE,
        f"--input_file={text_file}",
        f"--output_file={tmp_path}/train",
        "--num_shards=2",
        "--learn_vocab_size=200",
        f"--output_vocab_file={tmp_path}/vocab.txt",
        "--held_out_fraction=0.1",
        f"--held_out_output_file={tmp_path}/eval",
        "--max_seq_length=48",
        "--max_predictions_per_seq=7",
        "--dupe_factor=2",
    )
    assert result.returncode == 0, result.stderr
    assert "read as sentences" in result.stderr
    assert "150 documents" in result.stdout
    assert sorted(os.listdir(tmp_path)) == [
        "eval",
        "train-00000-of-00002",
        "train-00001-of-00002",
        "vocab.txt",
    ]
    train = _table(result.stdout, "training")
    held_out = _table(result.stdout, "held out")
    records = pretraining.count_records([f"{tmp_path}/train-*"])
    assert train["instances"] == records
    assert held_out["instances"] == pretraining.count_records(
        [f"{tmp_path}/eval"]
    )
    # Two passes over nine tenths against one pass over one tenth.
    assert 14 < train["instances"] / held_out["instances"] < 22
    assert train["[UNK] tokens"] == 0
    assert train["replaced by [MASK]"] == pytest.approx(80, abs=2)


def test_mistakes_are_one_line_each(tmp_path, text_file, vocab_file):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9\n")
    good = {
        "input_file": [text_file],
        "output_file": f"{tmp_path}/out",
        "vocab_file": vocab_file,
    }
    same = f"{tmp_path}/../{tmp_path.name}/out"
    held_out = {"held_out_fraction": 0.1}
    cases = [
        ({"input_file": []}, "--input_file is required"),
        ({"output_file": None}, "--output_file is required"),
        ({"input_file": ["/absent/*"]}, "/absent/*: got no file"),
        ({"input_file": [str(empty)]}, "got no text"),
        ({"input_file": [str(latin)]}, f"{latin}: got byte 0xe9 at offset 3"),
        ({"vocab_file": None}, "expected one of --vocab_file and"),
        ({"vocab_file": "/absent"}, "--vocab_file=/absent: expected a file"),
        ({"vocab_file": text_file}, f"{text_file}:"),
        ({"learn_vocab_size": 200}, "got both"),
        ({"held_out_fraction": 0.1}, "go together"),
        (held_out | {"held_out_output_file": same}, f"{same}: --output_file"),
        (
            held_out
            | {
                "num_shards": 2,
                "held_out_output_file": f"{same}-00001-of-00002",
            },
            f"{same}-00001-of-00002: --output_file writes the same file",
        ),
        (
            {
                "vocab_file": None,
                "learn_vocab_size": 200,
                "output_vocab_file": same,
            },
            f"--output_vocab_file={same}: --output_file writes the same file",
        ),
        (
            {"output_file": str(tmp_path)},
            f"--output_file={tmp_path}: expected a file, got a directory",
        ),
        (
            {"output_file": f"{empty}/out"},
            f"--output_file={empty}/out: cannot be written: {empty} is no",
        ),
        (
            held_out | {"held_out_output_file": f"{empty}/out"},
            f"--held_out_output_file={empty}/out: cannot be written",
        ),
        (
            {"runner": "DirectRunner"},
            "--runner=DirectRunner: apache-beam is not installed: "
            "pip install mobilebert-tf[beam]",
        ),
        ({"max_seq_length": 3}, "--max_seq_length: got 3"),
        ({"max_predictions_per_seq": 0}, "--max_predictions_per_seq: got 0"),
        ({"dupe_factor": 0}, "--dupe_factor: got 0"),
        ({"masked_lm_prob": 2.0}, "--masked_lm_prob: got 2.0"),
    ]
    result = subprocess.run(
        [sys.executable, "-c", _DRIVER],
        input=json.dumps([good | change for change, _ in cases]),
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = result.stdout.splitlines()
    assert len(lines) == len(cases), result.stderr
    for line, (_, expected) in zip(lines, cases, strict=True):
        assert expected in line
    assert sorted(os.listdir(tmp_path)) == ["empty.txt", "latin.txt"]


def test_exit_status(tmp_path):
    result = _run(_MODULE, f"--output_file={tmp_path}/x", "--vocab_file=v")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: --input_file")


def _summary(path, tokenizer):
    batches = pretraining.make_dataset(
        [path],
        48,
        7,
        64,
        is_training=False,
        seed=0,
        drop_remainder=False,
    )
    columns = {
        name: np.concatenate([batch[name] for batch in batches])
        for name in next(iter(batches))
    }
    weights = columns["masked_lm_weights"] > 0
    inputs = np.take_along_axis(
        columns["input_word_ids"], columns["masked_lm_positions"], axis=1
    )[weights]
    targets = columns["masked_lm_ids"][weights]
    lengths = columns["input_mask"].sum(axis=1)
    second = columns["input_type_ids"].sum(axis=1)
    special = (tokenizer.cls_id, tokenizer.sep_id)
    assert not np.isin(targets, special).any()
    return {
        "instances": len(lengths),
        "mean length": lengths.mean(),
        "full length": (lengths == 48).mean(),
        "short": (lengths < 24).mean(),
        "second segment": second.mean(),
        "predictions": weights.sum() / len(lengths),
        "masked": (inputs == tokenizer.mask_id).mean(),
        "kept": (inputs == targets).mean(),
        "random next": columns["next_sentence_labels"].mean(),
    }


def test_statistics_equal_the_model_gardens(
    tmp_path, text_file, vocab_file, tokenizer
):
    flags = [
        f"--input_file={text_file}",
        f"--vocab_file={vocab_file}",
        "--max_seq_length=48",
        "--max_predictions_per_seq=7",
        "--dupe_factor=4",
    ]
    summaries = []
    for module in (_MODULE, "official.nlp.data.create_pretraining_data"):
        output = f"{tmp_path}/{module}"
        result = _run(module, f"--output_file={output}", *flags)
        assert result.returncode == 0, result.stderr
        summaries.append(_summary(output, tokenizer))
    ours, theirs = summaries
    assert ours["instances"] > 5000
    for name, tolerance in {
        "instances": 0.05 * theirs["instances"],
        "mean length": 0.03 * theirs["mean length"],
        "full length": 0.03,
        "short": 0.02,
        "second segment": 0.04 * theirs["second segment"],
        "predictions": 0.03 * theirs["predictions"],
        "masked": 0.01,
        "kept": 0.01,
        "random next": 0.03,
    }.items():
        assert ours[name] == pytest.approx(theirs[name], abs=tolerance), name
