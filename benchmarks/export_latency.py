r"""Exported MobileBERT against others' exports and what the machine can do.

    make huggingface
    python -m benchmarks.export_latency --work_dir=out/export_latency \
        --huggingface_python=.venv-huggingface/bin/python \
        --report_file=out/export_latency.json

Full size, random weights with heavy tails, gammas in [0.7, 1.4] and betas (of
1 and 0 the converter would delete the normalisation), batch 1. Compared are
the encoders with all positions as output:

    ours         float32, dynamic, int8, of the deployment graph; int8 of a
                 classifier and of a model for questions too
    garden       the Model Garden's MobileBERTEncoder with the same weights,
                 float32 and as the converter makes dynamic range and int8,
                 this calibrated with and without padding
    huggingface  TFMobileBert, float32 and dynamic range, made by
                 --huggingface_python in an environment of its own
    bert_base    the Model Garden's BERT_BASE, float32
    roof         dense layers alone, float32 and int8: the rate of their
                 products, for as many as MobileBERT has, is the least time
                 that any graph can take with these kernels

In each round each file runs once, in an order drawn anew, in a process of its
own pinned to --core; processes place buffers anew, so that no file keeps a
lucky layout. Bars are judged by the smallest times; ratios of the medians
stand beside them. Files of others are kept in --work_dir, by the content of
what makes them; ours are made anew. SQNR is that of the final hidden state
against the Garden's encoder in float32, on unpadded inputs, which suit the
converter's files best, and at real positions of padded ones.

With --arm64_count and --arm64_dir, scripts that count the arm64 instructions
of an inference (`SCRIPT DIR FILE...` prints "FILE N K instructions"), those
are compared too. What a run leaves out is said and its bars are skipped.

Fails if a bar is missed; bars are for length 128, other lengths are reported.
"""

import dataclasses
import json
import os
import random
import re
import statistics
import sys
from collections.abc import Sequence

from absl import flags
from absl import logging

from benchmarks import export_bars
from benchmarks import export_files
from benchmarks import export_weights
from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import text_table
from mobilebert_tf.inspection import cost
from mobilebert_tf.modeling import config as config_lib

BAR_LENGTH = 128

_FOLDER = os.path.dirname(os.path.abspath(__file__))
# Files of the same weights, and so of the same outputs.
_SAME = (
    "ours_float32",
    "ours_dynamic",
    "ours_int8",
    "garden_dynamic",
    *export_bars.INT8_PEERS,
)
# Files whose arm64 instructions count.
_COUNTED = (
    "ours_dynamic",
    "ours_int8",
    "ours_classifier_int8",
    "garden_dynamic",
    *export_bars.INT8_PEERS,
    "huggingface_dynamic",
)


def measure(
    paths: dict[str, str], rounds: int, cores: Sequence[int]
) -> dict[str, dict]:
    """Times files in turns.

    Args:
        paths: by name.
        rounds: turns of each.
        cores: what a process is pinned to, a thread each.

    Returns:
        {name: {"min_ms", "median_ms", "partitions", "left_out"}}.
    """
    generator = random.Random(0)
    times = {name: [] for name in paths}
    figures = {}
    for turn in range(rounds):
        logging.info("round %d of %d on %s", turn + 1, rounds, cores)
        for name in generator.sample(sorted(paths), len(paths)):
            output = export_files.run(
                [
                    sys.executable,
                    os.path.join(_FOLDER, "export_timing.py"),
                    f"--model={paths[name]}",
                    f"--cores={','.join(map(str, cores))}",
                    f"--num_threads={len(cores)}",
                ]
            )
            figures[name] = json.loads(output.splitlines()[-1])
            times[name] += figures[name].pop("milliseconds")
    return {
        name: {
            "min_ms": min(times[name]),
            "median_ms": statistics.median(times[name]),
            **figures[name],
        }
        for name in paths
    }


def parse_instructions(output: str) -> dict[str, float]:
    """Returns millions of instructions by the name of the file.

    Args:
        output: lines "NAME.tflite N K instructions".
    """
    found = re.findall(r"^(\S+)\.tflite (\d+) K instructions$", output, re.M)
    return {name: int(thousands) / 1e3 for name, thousands in found}


def count_instructions(paths: Sequence[str]) -> dict[str, float]:
    """Returns millions of arm64 instructions by the name of the file.

    None without the script that counts them.

    Raises:
        ValueError: if it fails, or tells nothing of a file.
    """
    script, folder = flags.FLAGS.arm64_count, flags.FLAGS.arm64_dir
    if not (script and folder):
        logging.warning(
            "arm64 instructions are not counted: --arm64_count and "
            "--arm64_dir are not given"
        )
        return {}
    counts = {}
    for path in paths:
        logging.info("counting arm64 instructions of %s", path)
        name = os.path.splitext(os.path.basename(path))[0]
        count = parse_instructions(
            export_files.run(["bash", script, folder, path])
        )
        if not count.get(name):
            raise ValueError(
                f"{script}: expected a line about {name}, got none"
            )
        counts.update(count)
    return counts


def measure_errors(paths: Sequence[str], length: int) -> dict[str, dict]:
    """Returns {file: {"full", "padded": SQNR in dB}}."""
    logging.info("comparing outputs")
    output = export_files.run(
        [
            sys.executable,
            os.path.join(_FOLDER, "export_errors.py"),
            f"--models={','.join(paths)}",
            f"--length={length}",
        ]
    )
    errors = json.loads(output.splitlines()[-1])
    return {name.removesuffix(".tflite"): dB for name, dB in errors.items()}


def figures_of(report: dict, statistic: str = "min_ms") -> export_bars.Figures:
    """Returns what the bars are about.

    Args:
        report: of a run.
        statistic: of the times, "min_ms" or "median_ms".
    """
    latency = report["latency"]
    milliseconds = {
        name: figures[statistic] for name, figures in latency.items()
    }
    for name, roof in report["roofs"].items():
        milliseconds[name] = roof[statistic]
    return export_bars.Figures(
        milliseconds=milliseconds,
        partitions={
            name: figures["partitions"] for name, figures in latency.items()
        },
        left_out={
            name: sum(figures["left_out"].values())
            for name, figures in latency.items()
        },
        instructions=report["instructions"],
        sqnr_db={
            name: figures["full"] for name, figures in report["sqnr_db"].items()
        },
    )


def roofs(latency: dict[str, dict], macs: int) -> dict[str, dict]:
    """Returns the rates of the roofs.

    Args:
        latency: what `measure` returns.
        macs: multiply-accumulates of the network.

    Returns:
        {name: {"gops": 1e9 operations per second, two to a
        multiply-accumulate, at best; "min_ms", "median_ms": what `macs` take
        at the rate of the roof's}}.
    """
    rows, width, num_layers = export_weights.ROOF_SHAPE
    own_macs = rows * width * width * num_layers
    return {
        name: {
            "gops": 2e-6 * own_macs / latency[name]["min_ms"],
            **{
                statistic: latency[name][statistic] * macs / own_macs
                for statistic in ("min_ms", "median_ms")
            },
        }
        for name in (export_bars.ROOF_FLOAT32, export_bars.ROOF_INT8)
    }


def _print(report, verdicts, of_medians):
    rows = [
        (
            "file",
            "MB",
            "min ms",
            "median ms",
            "2 threads",
            "partitions",
            "left out",
            "arm64 M",
            "SQNR dB",
            "padded",
        )
    ]
    two_threads = report.get("latency_of_two_threads")
    for name, figures in report["latency"].items():
        errors = report["sqnr_db"].get(name, {})
        instructions = report["instructions"].get(name)
        rows.append(
            (
                name,
                f"{report['bytes'][name] / 1e6:.1f}",
                f"{figures['min_ms']:.2f}",
                f"{figures['median_ms']:.2f}",
                f"{two_threads[name]['min_ms']:.2f}" if two_threads else "",
                str(figures["partitions"]),
                str(sum(figures["left_out"].values())),
                f"{instructions:.0f}" if instructions else "",
                *(
                    f"{errors[key]:.1f}" if errors else ""
                    for key in ("full", "padded")
                ),
            )
        )
    print("\n".join(text_table.lines(rows)), end="\n\n")
    for name, roof in report["roofs"].items():
        print(
            f"{name}: {roof['gops']:.0f} Gop/s, {roof['min_ms']:.1f} ms for "
            f"{report['macs'] / 1e9:.3f} G multiply-accumulates"
        )
    for name, figures in report["latency"].items():
        if name.startswith(export_files.OURS) and figures["left_out"]:
            left_out = ", ".join(
                f"{count} {op}" for op, count in figures["left_out"].items()
            )
            print(f"{name} leaves out: {left_out}")
    print()
    rows = [("bar", "value", "of medians", "limit", "")]
    for verdict, of_median in zip(verdicts, of_medians, strict=True):
        bound = ">=" if verdict.is_least else "<="
        rows.append(
            (
                verdict.name,
                *(
                    "" if each.value is None else f"{each.value:.4f}"
                    for each in (verdict, of_median)
                ),
                f"{bound} {verdict.limit:g}",
                verdict.status,
            )
        )
    print("\n".join(text_table.lines(rows)))


def main(argv):
    del argv
    if flags.FLAGS.report_file:
        files.require_writable_file(flags.FLAGS.report_file, "report_file")
    files.require_writable_directory(flags.FLAGS.work_dir, "work_dir")
    cores = sorted(os.sched_getaffinity(0))
    core = cores[-1] if flags.FLAGS.core is None else flags.FLAGS.core
    length = flags.FLAGS.length
    paths = {
        os.path.splitext(os.path.basename(path))[0]: path
        for network in export_files.FILES
        for path in export_files.make(
            network,
            length,
            flags.FLAGS.work_dir,
            flags.FLAGS.huggingface_python,
        )
    }
    macs = cost.total(
        cost.of_config(config_lib.mobilebert(), length).backbone
    ).macs
    report = {
        "length": length,
        "macs": macs,
        "bytes": {name: os.path.getsize(path) for name, path in paths.items()},
        "sqnr_db": measure_errors([paths[name] for name in _SAME], length),
        "instructions": count_instructions(
            [paths[name] for name in _COUNTED if name in paths]
        ),
        # Last, when nothing else runs.
        "latency": measure(paths, flags.FLAGS.rounds, [core]),
    }
    if flags.FLAGS.two_threads:
        report["latency_of_two_threads"] = measure(
            paths, flags.FLAGS.rounds, cores[-2:]
        )
    report["roofs"] = roofs(report["latency"], macs)
    verdicts = export_bars.judge(figures_of(report))
    of_medians = export_bars.judge(figures_of(report, "median_ms"))
    report["bars"] = [
        {
            **dataclasses.asdict(verdict),
            "value_of_medians": of_median.value,
            "status": verdict.status,
        }
        for verdict, of_median in zip(verdicts, of_medians, strict=True)
    ]
    if flags.FLAGS.report_file:
        files.write_text(
            flags.FLAGS.report_file, json.dumps(report, indent=2) + "\n"
        )
    _print(report, verdicts, of_medians)
    missed = [
        str(verdict)
        for verdict in verdicts
        if verdict.status == export_bars.MISSED
    ]
    if missed and length == BAR_LENGTH:
        raise ValueError("; ".join(missed))


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_string(
        "work_dir", "out/export_latency", "Folder of the compared files."
    )
    flags.DEFINE_string("report_file", None, "JSON file for the figures.")
    flags.DEFINE_integer("length", BAR_LENGTH, "Tokens of the input.")
    flags.DEFINE_integer("rounds", 25, "Turns of each file.", lower_bound=1)
    flags.DEFINE_integer("core", None, "Core to use; the last by default.")
    flags.DEFINE_boolean(
        "two_threads", False, "Measure with two threads on two cores as well."
    )
    flags.DEFINE_string(
        "huggingface_python",
        None,
        "Interpreter of `make huggingface`, .venv-huggingface/bin/python.",
    )
    flags.DEFINE_string(
        "arm64_count", None, "Script that counts arm64 instructions."
    )
    flags.DEFINE_string("arm64_dir", None, "Folder that the script needs.")


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
