"""The Beam pipeline writes the bytes of the local run; `make test-beam`."""

import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip(
    "apache_beam", reason="apache-beam is not installed (make test-beam)"
)

_MODULE = "mobilebert_tf.create_pretraining_data"
_MULTI_PROCESSING = (
    "--runner=DirectRunner",
    "--beam_options="
    "--direct_running_mode=multi_processing --direct_num_workers=2",
)


def _run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", _MODULE, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def _files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _table(stdout):
    lines = stdout[stdout.index("corpus: ") :].splitlines()
    return [line.split(" -> ")[0] for line in lines if "done in" not in line]


def test_equals_the_local_run(tmp_path, text_file, vocab_file):
    runs = {
        "local": (),
        "one": ("--runner=DirectRunner",),
        "two": _MULTI_PROCESSING,
    }
    tables = {}
    for name, arguments in runs.items():
        folder = tmp_path / name
        # What a pipeline that was killed left.
        (folder / "new" / "train.beam").mkdir(parents=True)
        (folder / "new" / "train.beam" / ("0" * 32)).write_text("part")
        result = _run(
            f"--input_file={text_file}",
            f"--vocab_file={vocab_file}",
            f"--output_file={folder}/new/train",
            "--num_shards=3",
            "--held_out_fraction=0.1",
            f"--held_out_output_file={folder}/new/eval",
            "--max_seq_length=32",
            "--max_predictions_per_seq=6",
            "--dupe_factor=3",
            *arguments,
        )
        assert result.returncode == 0, result.stderr
        tables[name] = _table(result.stdout)
    shutil.rmtree(tmp_path / "local" / "new" / "train.beam")
    local = _files(tmp_path / "local" / "new")
    assert len(local) == 4
    for name in ("one", "two"):
        assert _files(tmp_path / name / "new") == local
        assert tables[name] == tables["local"]


@pytest.mark.parametrize(
    "arguments", [("--runner=DirectRunner",), _MULTI_PROCESSING]
)
def test_failure_is_one_line(tmp_path, vocab_file, arguments):
    text = tmp_path / "text"
    text.write_bytes(b"One line.\n\nnext \xe9.\n")
    result = _run(
        f"--input_file={text}",
        "--input_format=sentences",
        f"--vocab_file={vocab_file}",
        f"--output_file={tmp_path}/train",
        *arguments,
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: {text}: got byte 0xe9 at offset 16")
    assert last.endswith("expected UTF-8 text")
    assert sorted(os.listdir(tmp_path)) == ["text"]


def test_folder_of_others(tmp_path, text_file, vocab_file):
    folder = tmp_path / "train.beam"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    result = _run(
        f"--input_file={text_file}",
        f"--vocab_file={vocab_file}",
        f"--output_file={tmp_path}/train",
        "--runner=DirectRunner",
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: {folder}: got a folder of other files")
    assert os.listdir(folder) == ["notes.txt"]


def test_unknown_runner(tmp_path, text_file, vocab_file):
    result = _run(
        f"--input_file={text_file}",
        f"--vocab_file={vocab_file}",
        f"--output_file={tmp_path}/train",
        "--runner=NoRunner",
    )
    assert result.returncode == 1
    assert "NoRunner" in result.stderr.splitlines()[-1]
    assert not os.listdir(tmp_path)
