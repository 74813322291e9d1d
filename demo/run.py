r"""The whole path on text that this machine has: `python -m demo.run`.

Raw text -> TFRecords -> teacher -> student -> fine-tuned classifier ->
float32 and int8 .tflite -> latency, with the same commands a user types. Each
is shown before it runs, and its output kept in OUTPUT_DIR/logs. A demo that
was stopped goes on where it was.
"""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time

import numpy as np
from absl import flags
from matplotlib import figure as figure_lib

from mobilebert_tf import cli
from mobilebert_tf import html_report
from mobilebert_tf import text_table
from mobilebert_tf.training import training_log

_OUTPUT_DIR = flags.DEFINE_string("output_dir", "out/demo", "Folder to fill.")

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SEQUENCE = ["--max_seq_length=64"]
_RECORDS = [*_SEQUENCE, "--max_predictions_per_seq=10"]
_EXPORT_REPORT = ("tflite", "report.json")
_MODULE = [sys.executable, "-m"]


def commands(folder: str) -> list[tuple[str, list[str]]]:
    """Returns (stage name, command) in order, all writing below `folder`."""

    def path(*parts):
        return os.path.join(folder, *parts)

    def config(*parts):
        return f"--config_file={os.path.join(_ROOT, 'configs', *parts)}"

    records = [
        *_RECORDS,
        f"--input_file={path('records', 'train.tfrecord')}",
        f"--eval_input_file={path('records', 'eval.tfrecord')}",
    ]
    tflite = ",".join(
        path("tflite", f"model_{variant}.tflite")
        for variant in ("float32", "int8")
    )
    return [
        ("corpus", [*_MODULE, "demo.corpus", f"--output_dir={path('corpus')}"]),
        (
            "records",
            [
                *_MODULE,
                "mobilebert_tf.create_pretraining_data",
                f"--input_file={path('corpus', 'text', '*.txt')}",
                "--learn_vocab_size=4000",
                f"--output_vocab_file={path('records', 'vocab.txt')}",
                f"--output_file={path('records', 'train.tfrecord')}",
                "--held_out_fraction=0.02",
                f"--held_out_output_file={path('records', 'eval.tfrecord')}",
                "--dupe_factor=2",
                *_RECORDS,
            ],
        ),
        (
            "teacher",
            [
                *_MODULE,
                "mobilebert_tf.run_pretraining",
                config("pretraining", "demo_teacher.yaml"),
                f"--vocab_file={path('records', 'vocab.txt')}",
                *records,
                f"--model_dir={path('teacher')}",
            ],
        ),
        (
            "student",
            [
                *_MODULE,
                "mobilebert_tf.run_pretraining",
                config("distillation", "demo_student.yaml"),
                f"--teacher_dir={path('teacher')}",
                *records,
                f"--model_dir={path('student')}",
            ],
        ),
        (
            "classifier",
            [
                *_MODULE,
                "mobilebert_tf.run_classifier",
                config("glue", "demo.yaml"),
                f"--data_dir={path('corpus', 'task')}",
                f"--init_checkpoint={path('student')}",
                *_SEQUENCE,
                f"--model_dir={path('classifier')}",
                "--do_train",
                "--do_eval",
                "--do_predict",
            ],
        ),
        (
            "export",
            [
                sys.executable,
                os.path.join(_ROOT, "export", "to_tflite.py"),
                f"--model_dir={path('classifier')}",
                f"--output={path('tflite')}",
            ],
        ),
        (
            "benchmark",
            [
                sys.executable,
                os.path.join(_ROOT, "android_benchmark", "run_benchmark.py"),
                f"--models={tflite}",
                "--device=host",
                "--threads=1",
                f"--output={path('benchmark')}",
            ],
        ),
    ]


def run(folder: str) -> None:
    """Runs every stage, then prints and writes the summary.

    Files that the export makes but finds unfit are benchmarked and reported
    all the same.

    Raises:
        ValueError: naming the stage that failed and its log.
    """
    os.makedirs(os.path.join(folder, "logs"), exist_ok=True)
    # What is there after the export is of this run.
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(folder, *_EXPORT_REPORT))
    seconds = {}
    unfit = None
    for name, command in commands(folder):
        start = time.monotonic()
        log_path = os.path.join(folder, "logs", f"{name}.txt")
        try:
            _run_stage(name, command, log_path)
        except ValueError as error:
            if name != "export" or not _is_exported(folder):
                raise
            unfit = error
        seconds[name] = time.monotonic() - start
    header, rows = _table(folder)
    print("", *text_table.lines([header, *rows]), sep="\n")
    report_path = _write_report(folder, header, rows, seconds, unfit)
    int8_path = os.path.join(folder, "tflite", "model_int8.tflite")
    print(f"\nint8 model   {os.path.abspath(int8_path)}")
    print(f"HTML report  {os.path.abspath(report_path)}", flush=True)
    if unfit:
        raise unfit


def _run_stage(name, command, log_path):
    print(f"\n=== {name}\n$ {shlex.join(command)}", flush=True)
    with open(log_path, "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},
        )
        for line in process.stdout:
            log.write(line)
            print(line, end="", flush=True)
        if process.wait():
            raise ValueError(
                f"stage {name} ended with status {process.returncode}; its "
                f"output is in {log_path}"
            )


def _table(folder):
    header = [
        "stage",
        "metric",
        "value",
        "file MB",
        "latency median ms",
        "p90 ms",
    ]
    rows = []
    for stage in ("teacher", "student"):
        metrics = _last_validation(os.path.join(folder, stage))
        accuracy = metrics["masked_lm_accuracy"]
        rows.append(
            [stage, "masked-LM accuracy", f"{accuracy:.3f}", "", "", ""]
        )
    accuracy = _last_validation(os.path.join(folder, "classifier"))["accuracy"]
    rows.append(["classifier", "accuracy", f"{accuracy:.3f}", "", "", ""])
    latencies = _latencies(folder)
    for variant in _export_report(folder)["variants"]:
        latency = latencies[variant["file"]]
        rows.append(
            [
                f"{variant['name']} .tflite",
                "accuracy",
                f"{variant['metrics']['accuracy']:.3f}",
                f"{variant['bytes'] / 1e6:.2f}",
                f"{latency['latency_median_us'] / 1e3:.2f}",
                f"{latency['latency_p90_us'] / 1e3:.2f}",
            ]
        )
    return header, rows


def _write_report(folder, header, rows, seconds, unfit):
    report = html_report.HtmlReport("From text to a benchmarked int8 model")
    if unfit:
        report.add_text(f"FAIL: {unfit}")
    report.add_table("Result", header, rows)
    report.add_figure(
        "Loss of every training stage; dashed lines are stage boundaries.",
        _loss_figure(folder),
    )
    report.add_figure(
        "Latency of the inferences on this machine, one thread; the slowest "
        "half percent lies beyond the right edge.",
        _latency_figure(folder),
    )
    report.add_table(
        "Time of each stage",
        ["stage", "seconds"],
        [[name, f"{value:.0f}"] for name, value in seconds.items()],
    )
    report.add_heading("Commands")
    for name, command in commands(folder):
        report.add_text(f"{name}: {shlex.join(command)}")
    path = os.path.join(folder, "report.html")
    report.write(path)
    return path


def _loss_figure(folder):
    figure = figure_lib.Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, name in zip(
        panels, ("teacher", "student", "classifier"), strict=True
    ):
        rows = [
            row
            for row in training_log.read_metrics(os.path.join(folder, name))
            if row["kind"] == "train"
        ]
        steps = [row["step"] for row in rows]
        axes.plot(steps, [row["training_loss"] for row in rows], linewidth=1.5)
        for before, after in zip(rows, rows[1:], strict=False):
            if before["stage"] != after["stage"]:
                axes.axvline(before["step"], linestyle="--", color="#b0b0b8")
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.set_yscale("log")
    panels[0].set_ylabel("training loss")
    return figure


def _latency_figure(folder):
    figure = figure_lib.Figure(figsize=(7, 3.2))
    axes = figure.subplots()
    samples_ms = {
        name: np.array(samples) / 1e3
        for name, samples in _latency_samples(folder).items()
    }
    # A single hiccup would squeeze the rest into one bar.
    end = max(np.percentile(values, 99.5) for values in samples_ms.values())
    for name, values in samples_ms.items():
        axes.hist(values, bins=80, range=(0, end), alpha=0.6, label=name)
    axes.set_xlabel("latency, ms")
    axes.set_ylabel("inferences")
    axes.legend()
    return figure


def _last_validation(model_dir):
    rows = [
        row
        for row in training_log.read_metrics(model_dir)
        if row["kind"] == "validation"
    ]
    return rows[-1]


def _is_exported(folder):
    """Returns whether the export has left its report and both files."""
    return all(
        os.path.isfile(os.path.join(folder, *parts))
        for parts in (
            _EXPORT_REPORT,
            ("tflite", "model_float32.tflite"),
            ("tflite", "model_int8.tflite"),
        )
    )


def _export_report(folder):
    path = os.path.join(folder, *_EXPORT_REPORT)
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


def _benchmark_rows(folder):
    path = os.path.join(folder, "benchmark", "results.jsonl")
    with open(path, encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def _latencies(folder):
    return {
        os.path.basename(row["model_path"]): row
        for row in _benchmark_rows(folder)
        if row["record"] == "aggregate"
    }


def _latency_samples(folder):
    samples = {}
    for row in _benchmark_rows(folder):
        if row["record"] == "round":
            name = os.path.basename(row["model_path"])
            samples.setdefault(name, []).extend(row["latencies_us"])
    return samples


def main(argv):
    del argv
    run(_OUTPUT_DIR.value)


if __name__ == "__main__":
    cli.run(main)
