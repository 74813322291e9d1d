r"""The full-size mobilebert preset: does it build, run and convert in bounds?

    python benchmarks/full_size.py --report_file=out/full_size.json

Each step is a process of its own, as a user would start it: one forward pass
at length 128, a TF1 checkpoint of the published layout (random weights), and
its conversion from TF1 to a model folder, on to Hugging Face, the Model Garden
and TF1 again with `python -m mobilebert_tf.convert_checkpoint`; at last all
weights are compared with the first checkpoint's, bit for bit. Time includes
starting Python and importing TensorFlow; memory is the peak resident size of
the process. Fails if a step needs 2 GB or all need 60 s.
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from absl import flags
from absl import logging

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import text_table

MAX_BYTES = 2 * 10**9
MAX_SECS = 60.0

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_STEPS = os.path.join(_ROOT, "benchmarks", "full_size_steps.py")
_CONVERSIONS = (
    ("tf1", "mobilebert_tf"),
    ("mobilebert_tf", "huggingface"),
    ("huggingface", "garden"),
    ("garden", "tf1"),
)
_FIRST = "first"  # folder of the first TF1 checkpoint


def commands(folder: str) -> list[tuple[str, list[str]]]:
    """Returns (step, command) in order, all writing below `folder`."""
    own = [sys.executable, _STEPS, f"--folder={os.path.join(folder, _FIRST)}"]
    steps = [
        ("build, run at length 128", [*own, "--step=run"]),
        ("write TF1 checkpoint", [*own, "--step=write"]),
    ]
    source = os.path.join(folder, _FIRST)
    for source_format, target_format in _CONVERSIONS:
        target = os.path.join(folder, target_format)
        steps.append(
            (
                f"{source_format} to {target_format}",
                [
                    sys.executable,
                    "-m",
                    "mobilebert_tf.convert_checkpoint",
                    f"--from={source_format}",
                    f"--to={target_format}",
                    f"--input={source}",
                    f"--output={target}",
                ],
            )
        )
        source = target
    compare = [*own, "--step=compare", f"--other={source}"]
    return [*steps, ("compare bit for bit", compare)]


def measure(command: list[str]) -> dict[str, float]:
    """Runs a command and returns its seconds and peak bytes.

    Raises:
        ValueError: if it fails, with its last line.
    """
    with tempfile.TemporaryFile("w+") as output:
        begin = time.monotonic()
        process = subprocess.Popen(
            command, cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        secs = time.monotonic() - begin
        # Else subprocess would wait for the process that is gone.
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            lines = output.read().strip().splitlines() or ["no output"]
            raise ValueError(f"{' '.join(command)}: {lines[-1]}")
    # In KiB on Linux. It starts at this process's size, which is small:
    # TensorFlow is imported by the steps only.
    return {"secs": secs, "peak_bytes": usage.ru_maxrss * 1024}


def missed_bars(steps: dict[str, dict[str, float]]) -> list[str]:
    """Returns a sentence for each bar that is missed."""
    missed = []
    for name, figures in steps.items():
        if figures["peak_bytes"] >= MAX_BYTES:
            missed.append(
                f"{name}: expected less than {MAX_BYTES / 1e9:.2f} GB, "
                f"got {figures['peak_bytes'] / 1e9:.2f} GB"
            )
    total = sum(figures["secs"] for figures in steps.values())
    if total >= MAX_SECS:
        missed.append(
            f"all steps: expected less than {MAX_SECS:.0f} s, got {total:.1f} s"
        )
    return missed


def _table(steps, total):
    rows = [
        (name, f"{figures['secs']:.1f}", f"{figures['peak_bytes'] / 1e9:.2f}")
        for name, figures in [*steps.items(), ("total", total)]
    ]
    return "\n".join(text_table.lines([("step", "s", "peak GB"), *rows]))


def main(argv):
    del argv
    if flags.FLAGS.report_file:
        files.require_writable_file(flags.FLAGS.report_file, "report_file")
    steps = {}
    with tempfile.TemporaryDirectory(prefix="full_size_") as folder:
        for name, command in commands(folder):
            logging.info("%s", name)
            steps[name] = measure(command)
    total = {
        "secs": sum(figures["secs"] for figures in steps.values()),
        "peak_bytes": max(figures["peak_bytes"] for figures in steps.values()),
    }
    missed = missed_bars(steps)
    if flags.FLAGS.report_file:
        report = {"steps": steps, "total": total, "missed": missed}
        files.write_text(
            flags.FLAGS.report_file, json.dumps(report, indent=2) + "\n"
        )
    print(_table(steps, total))
    if missed:
        raise ValueError("; ".join(missed))


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_string("report_file", None, "JSON file for the figures.")


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
