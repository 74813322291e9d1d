"""The binary is killed, or one of its workers, or its memory is measured."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

_MODULE = "mobilebert_tf.create_pretraining_data"
_ENVIRONMENT = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}

# Prints the pieces of a text and the instances made of it, and the peak memory
# in MB: not getrusage's, which an exec keeps from the process before.
_MEMORY = """
import re, sys
from mobilebert_tf.data import masking, pretraining_builder, text
from mobilebert_tf.data.pretraining_examples import (
    local_runner, shuffling, stages, text_slices, work_folder)
text_file, vocab_file, output = sys.argv[1:]
shuffling.BUCKET_BYTES = 2**21
slices = text_slices.cut([text_file], text.SENTENCES, 2**19, 2**20)
options = pretraining_builder.BuilderOptions(
    masking.MaskingOptions(64, 10), dupe_factor=1)
vocabulary = open(vocab_file, "rb").read()
job = stages.Job(tuple(slices), vocabulary, True, options)
folder = work_folder.WorkFolder(output + ".work")
with folder.open(job):
    _, statistics = local_runner.run(job, {"training": [output]}, folder, 1)
print(slices[-1].piece + 1, statistics["training"].instances)
status = open("/proc/self/status").read()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1024)
"""


def _command(folder, text_file, vocab_file):
    return [
        sys.executable,
        "-m",
        _MODULE,
        f"--input_file={text_file}",
        f"--vocab_file={vocab_file}",
        f"--output_file={folder}/train",
        "--num_shards=3",
        "--max_seq_length=48",
        "--max_predictions_per_seq=7",
        "--dupe_factor=8",
        "--num_workers=2",
    ]


def _repeat(text_file, path, times):
    path.write_text((pathlib.Path(text_file).read_text() + "\n") * times)
    return str(path)


def _shards(folder):
    return {path.name: path.read_bytes() for path in folder.glob("train-*")}


def _workers_of(parent):
    """Returns the ids of the processes whose command names a parent pipe."""
    children = pathlib.Path(f"/proc/{parent}/task/{parent}/children")
    return [int(child) for child in children.read_text().split()]


def _is_running(process):
    try:
        state = pathlib.Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.rsplit(")", 1)[1].split()[0] != "Z"


def _wait(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
def test_kill_9_then_the_same_command(tmp_path, text_file, vocab_file):
    large = _repeat(text_file, tmp_path / "text", 6)
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    whole, killed = folders
    subprocess.run(
        _command(whole, large, vocab_file),
        check=True,
        env=_ENVIRONMENT,
        capture_output=True,
    )
    expected = _shards(whole)
    assert len(expected) == 3
    work = killed / "train.work"
    command = _command(killed, large, vocab_file)
    for pattern in ("slice-*.json", "pass-*.json", "pass-*-0005-*.json"):
        with open(tmp_path / "log", "w") as log:
            process = subprocess.Popen(command, env=_ENVIRONMENT, stderr=log)
        _wait(lambda: list(work.glob(pattern)))  # noqa: B023
        workers = _workers_of(process.pid)
        process.kill()
        process.wait()
        assert workers
        # Nobody is left to write.
        _wait(lambda: not any(map(_is_running, workers)), 60)  # noqa: B023
        for name, data in _shards(killed).items():
            assert data == expected[name]
    result = subprocess.run(
        command, check=True, env=_ENVIRONMENT, capture_output=True, text=True
    )
    assert "continuing an earlier run" in result.stderr
    assert "parts were done before" in result.stderr
    assert _shards(killed) == expected
    assert sorted(os.listdir(killed)) == sorted(expected)


@pytest.mark.slow
def test_killed_worker_is_one_line(tmp_path, text_file, vocab_file):
    large = _repeat(text_file, tmp_path / "text", 6)
    process = subprocess.Popen(
        _command(tmp_path, large, vocab_file),
        env=_ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
    )
    work = tmp_path / "train.work"
    _wait(lambda: list(work.glob("pass-*.records")))
    workers = [
        child
        for child in _workers_of(process.pid)
        if "spawn_main" in pathlib.Path(f"/proc/{child}/cmdline").read_text()
    ]
    os.kill(workers[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    last = stderr.splitlines()[-1]
    assert last.startswith("error: a worker process ended suddenly")
    _wait(lambda: not any(map(_is_running, workers)), 60)


@pytest.mark.slow
def test_failing_worker_names_the_file(tmp_path, text_file, vocab_file):
    bad = tmp_path / "bad.txt"
    bad.write_bytes(pathlib.Path(text_file).read_bytes() + b"caf\xe9\n")
    command = _command(tmp_path, f"{text_file},{bad}", vocab_file)
    result = subprocess.run(
        [*command, "--input_format=sentences"],
        env=_ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: {bad}: got byte 0xe9 at offset ")
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("train*"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tmp_path, text_file, vocab_file):
    peaks = []
    for times in (24, 96):
        large = _repeat(text_file, tmp_path / "text", times)
        result = subprocess.run(
            [
                *(sys.executable, "-c", _MEMORY),
                *(large, vocab_file, f"{tmp_path}/{times}"),
            ],
            check=True,
            env=_ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        pieces, instances, peak = result.stdout.split()
        peaks.append((int(pieces), int(instances), float(peak)))
    (pieces, instances, small), (more_pieces, more_instances, large) = peaks
    assert pieces >= 3 and more_pieces >= 3.5 * pieces
    assert more_instances > 3.9 * instances
    written = os.path.getsize(f"{tmp_path}/96") / 2**20
    assert written > 48, peaks
    assert large - small < 16, peaks
