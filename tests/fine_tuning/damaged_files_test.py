"""Every binary with every file damaged: one line with file and row.

Each binary is one process, which works through all commands of its tasks as
the command line would, from the parsing of flags to the exit status.
"""

import csv
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from mobilebert_tf import tokenization
from mobilebert_tf.modeling import config as config_lib

pytestmark = pytest.mark.slow

ROOT = str(pathlib.Path(__file__).parents[2])
LENGTH = 24
LONG = 100_000
WORDS = [f"word{i}" for i in range(40)]
# Runs one command after the other; prints a line of JSON for each.
DRIVER = """
import contextlib, importlib, io, json, sys
from absl import flags
from mobilebert_tf import cli
binary = importlib.import_module(sys.argv[1])
for line in sys.stdin:
    flags.FLAGS.unparse_flags()
    sys.argv = [binary.__file__, *json.loads(line)]
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        try:
            cli.run(binary.main)
        except SystemExit as end:
            status = end.code
    print("RESULT " + json.dumps([status or 0, stderr.getvalue()]), flush=True)
"""


def _text(row, count=6):
    return " ".join(WORDS[(row * 7 + i * 3) % len(WORDS)] for i in range(count))


def _long_text():
    return " ".join(WORDS * (LONG // 240))[:LONG]


class Case:
    """A task's good files, and how its binary is called.

    Attributes:
        binary: name of the module.
        file: name of the train file; the dev file is "dev" with its ending.
        flags: of the binary, with {names} of paths.
        place: what stands behind the path in a message on row 5.
        empty_place: likewise if the text is missing.
        is_json: whether the file is one JSON, whose syntax breaks by lines.
        wrong_label: what the message says of a label that is not in the set.
    """

    place = empty_place = ":7: "
    is_json = False
    wrong_label = "got label 'none', expected one of 0, 1"

    def __init__(self, binary, file, flags):
        self.binary = binary
        self.file = file
        self.flags = flags

    def content(self, text=None, label=None):
        """Returns a file of 20 rows; row 5 has these."""
        raise NotImplementedError


class Table(Case):
    """TSV, CSV or JSONL of texts with labels."""

    def __init__(self, flags, file, labels, wrong):
        super().__init__("run_classifier", file, flags)
        self._labels = labels
        self.wrong_label = wrong
        if file.endswith("jsonl"):  # It has no header.
            self.place = self.empty_place = ":6: "

    def content(self, text=None, label=None):
        rows = [
            [_text(row), self._labels[row % len(self._labels)]]
            for row in range(20)
        ]
        rows[5] = [
            rows[5][0] if text is None else text,
            rows[5][1] if label is None else label,
        ]
        if self.file.endswith("jsonl"):
            records = [{"sentence": r[0], "label": r[1]} for r in rows]
            return "".join(json.dumps(record) + "\n" for record in records)
        stream = io.StringIO()
        separator = "\t" if self.file.endswith("tsv") else ","
        writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
        writer.writerows([["sentence", "label"], *rows])
        return stream.getvalue()


class Choice(Case):
    def content(self, text=None, label=None):
        rows = [
            [_text(row), "", _text(row + 1, 2), _text(row + 2, 2), row % 2]
            for row in range(20)
        ]
        if text is not None:
            rows[5][3] = text
        if label is not None:
            rows[5][4] = label
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        header = ["sent1", "sent2", "ending0", "ending1", "label"]
        writer.writerows([header, *rows])
        return stream.getvalue()


class Tags(Case):
    place = empty_place = ":16: "
    wrong_label = "'none'"

    def content(self, text=None, label=None):
        sentences = []
        for row in range(20):
            word, tag = WORDS[row], "O" if row % 2 else "B-X"
            if row == 5:
                word = word if text is None else text
                tag = tag if label is None else label
            sentences.append(f"{word}\t{tag}\nend\tO\n\n")
        return "".join(sentences)


class Questions(Case):
    """A wrong label is an answer that is not where the file says."""

    place = ": question q5"
    empty_place = r": data\[0\].paragraphs\[5\]"
    is_json = True
    wrong_label = "at character 0 of the context"

    def content(self, text=None, label=None):
        paragraphs = []
        for row in range(20):
            context = _text(row) if row != 5 or text is None else text
            answer = context.split(" ")[0]
            if row == 5 and label is not None:
                answer = label
            question = {
                "id": f"q{row}",
                "question": _text(row, 3),
                "answers": [{"text": answer, "answer_start": 0}],
            }
            paragraphs.append({"context": context, "qas": [question]})
        return json.dumps({"data": [{"paragraphs": paragraphs}]}, indent=1)


_COLUMNS = ["--text_column=sentence", "--label_column=label"]
_FILES = ["--train_file={train}", "--dev_file={dev}"]
_NAMES = ["--data_dir={folder}", "--train_file={file}", "--dev_file={dev_file}"]
CASES = {
    "glue": Table(
        ["--task_name=SST-2", "--data_dir={folder}"],
        "train.tsv",
        ["0", "1"],
        "got label 'none', expected one of 0, 1",
    ),
    "csv": Table(
        [*_FILES, *_COLUMNS],
        "train.csv",
        ["no", "yes"],
        "got label 'none', expected one of no, yes",
    ),
    "regression": Table(
        [*_FILES, *_COLUMNS, "--regression"],
        "train.jsonl",
        ["0.5", "2"],
        "got 'none', expected a number",
    ),
    "squad": Questions(
        "run_squad",
        "train.json",
        [
            "--train_file={train}",
            "--predict_file={dev}",
            "--max_query_length=8",
            "--doc_stride=8",
        ],
    ),
    "tagging": Tags("run_tagger", "train.txt", [*_NAMES, "--scheme=bio"]),
    "choice": Choice("run_multiple_choice", "train.csv", _NAMES),
}


class Binary:
    """A process that runs the commands of one binary."""

    def __init__(self, name):
        self._process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, f"mobilebert_tf.{name}"],
            env={**os.environ, "PYTHONPATH": ROOT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, flags):
        """Returns the exit status, and what was written to stderr."""
        print(json.dumps(flags), file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("RESULT "):
                return json.loads(line.removeprefix("RESULT "))
        raise AssertionError("the process ended")

    def close(self):
        # To take apart the graphs of all its runs would take it minutes.
        self._process.kill()
        self._process.wait(timeout=60)


class Task:
    """A case in a folder, with a model that was trained on good files."""

    def __init__(self, case, folder, model_flags, binary):
        self.case = case
        self.folder = folder
        self.model_dir = folder / "model"
        self.train = folder / case.file
        self.dev = folder / f"dev{self.train.suffix}"
        self._binary = binary
        values = {
            "folder": folder,
            "train": self.train,
            "dev": self.dev,
            "file": self.train.name,
            "dev_file": self.dev.name,
        }
        self.flags = [
            *(flag.format(**values) for flag in case.flags),
            *model_flags,
            f"--max_seq_length={LENGTH}",
            "--train_batch_size=4",
            "--num_train_steps=2",
        ]
        self.mend()

    def mend(self):
        """Makes both files good, but for a text that must be cut."""
        for path in (self.train, self.dev):
            if path.is_dir():
                path.rmdir()
        long = "a" * LONG if isinstance(self.case, Tags) else _long_text()
        self.train.write_text(self.case.content(text=long))
        self.dev.write_text(self.case.content())

    def run(self, *flags):
        return self._binary.run([*self.flags, *flags])

    def digest(self):
        """Returns what is in the model's folder."""
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.model_dir.rglob("*")
            if path.is_file()
        }


@pytest.fixture(scope="module", name="binaries")
def _binaries():
    processes = {}

    def get(name):
        if name not in processes:
            processes[name] = Binary(name)
        return processes[name]

    yield get
    for process in processes.values():
        process.close()


@pytest.fixture(scope="module", name="model_flags")
def _model_flags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    tokens = [*tokenization.SPECIAL_TOKENS, "a", "##a", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    config_lib.micro(
        vocab_size=len(tokens),
        hidden_size=16,
        embedding_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intra_bottleneck_size=8,
        intermediate_size=16,
        num_feedforward_networks=1,
        max_position_embeddings=32,
    ).to_json_file(str(folder / "config.json"))
    return [
        f"--bert_config_file={folder / 'config.json'}",
        f"--vocab_file={folder / 'vocab.txt'}",
    ]


@pytest.fixture(scope="module", name="task", params=CASES)
def _task(request, tmp_path_factory, binaries, model_flags):
    case = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    task = Task(case, folder, model_flags, binaries(case.binary))
    status, message = task.run(
        f"--model_dir={task.model_dir}", "--do_train", "--do_eval"
    )
    assert status == 0, message
    return task


def test_a_text_of_100_000_characters_is_cut(task):
    """The fixture trains on it."""
    assert list(task.model_dir.glob("ckpt-2.index"))
    page = (task.model_dir / "evaluation_dev.html").read_text()
    assert "<caption>Metrics</caption>" in page


def test_evaluate_agrees_with_the_evaluation_of_the_run(task):
    status, message = task.run(f"--evaluate={task.model_dir}")
    assert status == 0, message
    compared = json.loads((task.model_dir / "comparison_dev.json").read_text())
    kept = json.loads(
        (task.model_dir / "best" / "evaluation_dev.json").read_text()
    )
    metrics = compared[str(task.model_dir)]["metrics"]
    assert metrics == pytest.approx(kept["metrics"], abs=1e-5)


def _cut(task):
    content = task.case.content(text="marker")
    task.train.write_text(content[: content.index("marker") + 3])
    return task.train, r":\d+: " if task.case.is_json else task.case.place


def _other_task(task):
    other = "tagging" if task.case is CASES["glue"] else "glue"
    task.train.write_text(CASES[other].content())
    return task.train, ":1: "


def _wrong_label(task):
    # The train file says what the labels are, the dev file must agree.
    path = task.train if task.case is CASES["squad"] else task.dev
    path.write_text(task.case.content(label="none"))
    return path, task.case.place + ".*" + re.escape(task.case.wrong_label)


def _empty_text(task):
    task.train.write_text(task.case.content(text=""))
    return task.train, task.case.empty_place + ".*(empty|no text)"


def _no_utf8(task):
    content = task.case.content(text="marker").encode()
    task.train.write_bytes(content.replace(b"marker", b"mar\xffker"))
    place = r":\d+: " if task.case.is_json else task.case.place
    return task.train, place + "got byte 0xff.*UTF-8"


def _nothing(task):
    task.train.write_bytes(b"")
    return task.train, ""


def _folder(task):
    task.train.unlink()
    task.train.mkdir()
    # With --data_dir it is told as the name of a file there.
    return task.train.name, ""


DAMAGES = (
    _cut,
    _other_task,
    _wrong_label,
    _empty_text,
    _no_utf8,
    _nothing,
    _folder,
)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("is_fresh", [False, True], ids=["again", "fresh"])
def test_damaged_file(task, damage, is_fresh):
    before = task.digest()
    model_dir = task.folder / "fresh" if is_fresh else task.model_dir
    path, place = damage(task)
    status, message = task.run(
        f"--model_dir={model_dir}",
        # More steps than the run has: it would go on.
        "--num_train_steps=4",
        "--do_train",
        "--do_eval",
    )
    task.mend()
    assert status == 1
    assert message.count("\n") == 1
    assert re.match("error: .*" + re.escape(str(path)) + place, message), (
        message
    )
    assert task.digest() == before
    assert not list((task.folder / "fresh").rglob("*"))
