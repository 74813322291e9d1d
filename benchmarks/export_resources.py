r"""Time and memory to export the full-size mobilebert in all variants.

    python -m benchmarks.export_resources \
        --report_file=out/export_resources.json

Exports a full-size classifier of random weights at length 128 with
export/to_tflite.py, in a process of its own, as a user would: conversion,
calibration, quantisation, verification on a small task and report. Time
includes starting Python and importing TensorFlow; memory is the peak resident
size of the process. Fails if that needs 4 GB or 300 s.
"""

import json
import os
import sys
import tempfile

from absl import flags
from absl import logging

from benchmarks import full_size
from export import file_maker
from mobilebert_tf import cli
from mobilebert_tf import files

MAX_BYTES = 4 * 10**9
MAX_SECS = 300.0

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_BINARY = os.path.join(_ROOT, "export", "to_tflite.py")


def commands(folder: str, variants: list[str]) -> tuple[list[str], list[str]]:
    """Returns what makes the model, and what exports it, below `folder`."""
    model_dir = os.path.join(folder, "model")
    make = [
        sys.executable,
        "-m",
        "benchmarks.export_resources_model",
        f"--folder={model_dir}",
    ]
    export = [
        sys.executable,
        _BINARY,
        f"--model_dir={model_dir}",
        f"--output={os.path.join(folder, 'output')}",
        f"--variants={','.join(variants)}",
    ]
    return make, export


def missed_bars(figures: dict[str, float]) -> list[str]:
    """Returns a sentence for each bar that is missed."""
    missed = []
    if figures["peak_bytes"] >= MAX_BYTES:
        missed.append(
            f"expected less than {MAX_BYTES / 1e9:.2f} GB, got "
            f"{figures['peak_bytes'] / 1e9:.2f} GB"
        )
    if figures["secs"] >= MAX_SECS:
        missed.append(
            f"expected less than {MAX_SECS:.0f} s, got {figures['secs']:.1f} s"
        )
    return missed


def main(argv):
    del argv
    report_file = flags.FLAGS.report_file
    if report_file:
        files.require_writable_file(report_file, "report_file")
    variants = flags.FLAGS.variants
    with tempfile.TemporaryDirectory(prefix="export_resources_") as folder:
        make, export = commands(folder, variants)
        logging.info("making the model")
        full_size.measure(make)
        logging.info("exporting %s", ", ".join(variants))
        figures = full_size.measure(export)
    missed = missed_bars(figures)
    if report_file:
        report = {"variants": variants, **figures, "missed": missed}
        files.write_text(report_file, json.dumps(report, indent=2) + "\n")
    print(
        f"{len(variants)} variants: {figures['secs']:.1f} s, peak "
        f"{figures['peak_bytes'] / 1e9:.2f} GB"
    )
    if missed:
        raise ValueError("; ".join(missed))


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_string("report_file", None, "JSON file for the figures.")
    flags.DEFINE_list(
        "variants", list(file_maker.VARIANTS), "Which to export; default: all."
    )


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
