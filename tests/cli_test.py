"""Mistakes of the user are one line on stderr and exit status 1.

Flags are global to a process: each run is a process of its own.
"""

import json
import os
import signal
import subprocess
import sys

import pytest

from mobilebert_tf import cli
from mobilebert_tf import tokenization
from mobilebert_tf.modeling import config as config_lib

# A binary whose flag says what goes wrong.
_SCRIPT = """
import sys
from absl import flags
from mobilebert_tf import cli

flags.DEFINE_string("error", "", "What main raises.")
flags.DEFINE_integer("number", 1, "A number.")

def main(argv):
    assert "tensorflow" not in sys.modules
    print("argv", argv[1:], flags.FLAGS.number)
    if flags.FLAGS.error:
        raise eval(flags.FLAGS.error)

cli.run(main)
"""

# Calls main() once per command line and prints what a user would see; then
# starts the binary in earnest, which ends the process.
_DRIVER = """
import importlib, json, sys
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver
from mobilebert_tf import cli
module, cases, last = json.load(sys.stdin)
main = importlib.import_module(module).main
flags.FLAGS(["test"])
for case in cases:
    with flagsaver.flagsaver(**case):
        try:
            main([])
            print("no error")
        except (ValueError, OSError) as error:
            print(cli.one_line(error))
sys.stdout.flush()
sys.argv = [module, *last]
cli.run(main if last else lambda argv: tf.function(tf.io.decode_png)("text"))
"""


def _run(script, *arguments, stdin=None):
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_success():
    result = _run(_SCRIPT, "--number=7")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "argv [] 7\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--nubmer=7"], "Unknown command line flag 'nubmer'. Did you mean:"),
        (["--number=x"], "flag --number=x: invalid literal for int()"),
        (["--number"], "Missing value for flag --number"),
        (["number=7"], "unexpected argument 'number=7': flags are --name="),
        (["--", "--number=7"], "unexpected argument '--number=7': flags are"),
    ],
)
def test_wrong_command_lines(arguments, message):
    result = _run(_SCRIPT, *arguments)
    assert result.returncode == 1
    assert result.stdout == ""  # main was not called
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "error, message",
    [
        ("ValueError('a.yaml: wrong')", "a.yaml: wrong"),
        ("ValueError('two\\n  lines')", "two lines"),
        ("ValueError()", "ValueError"),
        ("UnicodeDecodeError('utf-8', b'x', 0, 1, 'why')", "'utf-8' codec"),
        ("OSError('no route')", "no route"),
        (
            "FileNotFoundError(2, 'No such file or directory', '/a/b')",
            "No such file or directory: /a/b",
        ),
        ("PermissionError(13, 'Permission denied', '/c')", "Permission denied"),
    ],
)
def test_errors_of_the_user(error, message):
    result = _run(_SCRIPT, f"--error={error}")
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("error", ["KeyError('x')", "TypeError('x')"])
def test_defects_of_the_program_keep_their_traceback(error):
    result = _run(_SCRIPT, f"--error={error}")
    assert result.returncode == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert "error: " not in result.stderr


def test_traceback_on_request():
    result = _run(_SCRIPT, "--error=ValueError('wrong')", "--v=1")
    assert result.returncode == 1
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.endswith("\nerror: wrong\n")


def test_interrupt():
    result = _run(_SCRIPT, "--error=KeyboardInterrupt()")
    assert result.returncode == 128 + signal.SIGINT
    assert result.stderr == "interrupted\n"


def test_help_lists_the_flags():
    result = _run(_SCRIPT, "--helpshort")
    assert "A number." in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_one_line():
    assert cli.one_line(ValueError(" a\n\n\tb ")) == "a b"
    assert cli.one_line(FileNotFoundError()) == "FileNotFoundError"


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    """A vocabulary of 7 tokens, and networks of 7 and of 9."""
    folder = tmp_path_factory.mktemp("cli")
    tokens = [*tokenization.SPECIAL_TOKENS, "a", "b"]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    for size in (7, 9):
        config_lib.micro(
            vocab_size=size, num_hidden_layers=1, max_position_embeddings=16
        ).to_json_file(str(folder / f"{size}.json"))
    (folder / "typo.yaml").write_text("task: {modle: {preset: micro}}\n")
    (folder / "type.yaml").write_text("task: {seed: one}\n")
    (folder / "broken.json").write_text("{")
    return folder


def _check(module, folder, good, cases, last=()):
    """Runs all cases in one process, which takes as long as its imports.

    Args:
        module: the binary's.
        folder: replaces {f} in flags and messages.
        good: flags of a correct command line.
        cases: pairs of changed flags and expected part of the message.
        last: command line of the final run; none raises a TensorFlow error.

    Returns:
        The final run's stderr.
    """
    cases = [
        (
            {
                key: [str(v).format(f=folder) for v in value]
                if isinstance(value, list)
                else value.format(f=folder)
                if isinstance(value, str)
                else value
                for key, value in {**good, **changes}.items()
            },
            message.format(f=folder),
        )
        for changes, message in cases
    ]
    stdin = json.dumps([module, [flags for flags, _ in cases], last])
    result = _run(_DRIVER, stdin=stdin)
    assert result.returncode == 1, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == len(cases), result.stderr
    for line, (_, message) in zip(lines, cases, strict=True):
        assert message in line
    return result.stderr


_NETWORK_CASES = [
    ({"model_dir": None}, "--model_dir is required: got nothing"),
    (
        {"config_file": ["{f}/absent.yaml"]},
        "--config_file={f}/absent.yaml: expected a file, got no such file",
    ),
    (
        {"config_file": ["{f}/typo.yaml"]},
        "{f}/typo.yaml: unknown key 'task.modle'; did you mean task.model?",
    ),
    (
        {"config_file": ["{f}/type.yaml"]},
        "{f}/type.yaml: task.seed: expected int, got 'one'",
    ),
    (
        {"params_override": "task.sed=1"},
        "--params_override: unknown key 'task.sed'; did you mean task.seed?",
    ),
    ({"params_override": "seed"}, "expected key=value, got 'seed'"),
    (
        {"vocab_file": None, "bert_config_file": None},
        "--vocab_file is required: got nothing",
    ),
    (
        {"vocab_file": "{f}/absent"},
        "--vocab_file={f}/absent: expected a file, got no such file",
    ),
    ({"vocab_file": "{f}/7.json"}, "{f}/7.json: missing special tokens"),
    (
        {"bert_config_file": "{f}/9.json"},
        "{f}/vocab.txt has 7 entries but the model's vocab_size is 9",
    ),
    (
        {"bert_config_file": "{f}/absent.json"},
        "--bert_config_file={f}/absent.json: expected a file, got no such",
    ),
    ({"bert_config_file": "{f}/broken.json"}, "{f}/broken.json: not JSON"),
    (
        {"bert_config_file": None, "preset": "micr"},
        "unknown preset 'micr', expected one of mobilebert",
    ),
    (
        {"max_seq_length": 17},
        "max_seq_length: expected 1 to max_position_embeddings=16, got 17",
    ),
    ({"max_seq_length": 0}, "max_position_embeddings=16, got 0"),
]


def test_mistakes_in_pretraining(folder):
    stderr = _check(
        "mobilebert_tf.run_pretraining",
        folder,
        {
            "model_dir": "{f}/model",
            "vocab_file": "{f}/vocab.txt",
            "bert_config_file": "{f}/7.json",
            "max_seq_length": 16,
            "input_file": "{f}/absent*",
        },
        [
            *_NETWORK_CASES,
            ({}, "{f}/absent*"),
            ({"input_file": None}, "--input_file is required: got nothing"),
            (
                {"do_eval": True},
                "--model_dir={f}/model: expected a directory, got no such",
            ),
            (
                {"teacher_dir": "{f}/absent"},
                "--teacher_dir={f}/absent: no checkpoint",
            ),
            (
                {"bert_teacher_config_file": "{f}/7.json"},
                "--bert_teacher_config_file={f}/7.json: there is no teacher",
            ),
        ],
        last=[
            f"--config_file={folder}/typo.yaml",
            f"--output_dir={folder}/model",  # the official name
        ],
    )
    assert stderr == (
        f"error: {folder}/typo.yaml: unknown key 'task.modle'; did you mean "
        "task.model?\n"
    )
    assert not (folder / "model").exists()


def test_mistakes_in_classification(folder):
    stderr = _check(
        "mobilebert_tf.run_classifier",
        folder,
        {
            "model_dir": "{f}/model",
            "vocab_file": "{f}/vocab.txt",
            "bert_config_file": "{f}/7.json",
            "max_seq_length": 16,
            "task_name": "SST-2",
            "data_dir": "{f}/absent",
            "do_train": True,
        },
        [
            *_NETWORK_CASES,
            ({"do_train": False}, "nothing to do: give --do_train, --do_eval"),
            ({"task_name": "SST-3"}, "SST-3"),
            ({}, "--data_dir={f}/absent: expected a directory, got no such"),
            ({"data_dir": "{f}"}, "{f}/train.tsv"),
            (
                {"init_checkpoint": "{f}/absent"},
                "--init_checkpoint={f}/absent: no checkpoint",
            ),
            (
                {"init_checkpoint": "{f}"},
                "--init_checkpoint={f}: no checkpoint (*.index) found",
            ),
        ],
    )
    assert not (folder / "model").exists()
    # Of a page of graph nodes and stack frames, what went wrong.
    assert stderr.startswith("error: Unknown image file format.")
    assert stderr.count("\n") == 1
    assert "node" not in stderr
