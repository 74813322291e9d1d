"""Measures the latency of .tflite models on this machine or over adb.

    python android_benchmark/run_benchmark.py --models=a.tflite,b.tflite \
        --device=host --threads=1,2 --output=out/benchmark

Writes results.jsonl, setup.json and report.html to --output and prints a
table. Flags override --config_file; the rest has the defaults of
BenchmarkConfig.

Exit status: 0; 1 if something was not measured, or with --compare if
something became slower than --max_regression allows; 3 if with --compare
nothing did but the rounds cannot exclude it for all.
"""

import dataclasses
import signal
import sys
from collections.abc import Sequence

from absl import flags

from android_benchmark import benchmark
from android_benchmark import benchmark_config
from android_benchmark import comparison
from android_benchmark import fleet
from android_benchmark import latency_report
from mobilebert_tf import cli

_UNDECIDED_STATUS = 3
_CONFIG_FILE = flags.DEFINE_string(
    "config_file", None, "YAML with fields of BenchmarkConfig."
)
_OVERRIDES = (
    flags.DEFINE_list("models", None, "Comma-separated .tflite files."),
    flags.DEFINE_string(
        "device",
        None,
        "host, an adb serial, several with commas, all (every usable "
        "device), adb (the one attached device), or auto (the attached device "
        "if exactly one and there is a benchmark_model, else host). Default: "
        "auto.",
    ),
    flags.DEFINE_list("threads", None, "Comma-separated thread counts."),
    flags.DEFINE_integer("warmup_runs", None, "Fewest warm-up inferences."),
    flags.DEFINE_float("warmup_min_secs", None, "Shortest warm-up, seconds."),
    flags.DEFINE_integer("num_runs", None, "Fewest inferences per round."),
    flags.DEFINE_float("min_secs", None, "Shortest measurement, seconds."),
    flags.DEFINE_float("max_secs", None, "Longest measurement, seconds."),
    flags.DEFINE_integer("rounds", None, "Interleaved rounds."),
    flags.DEFINE_string(
        "benchmark_model", None, "LiteRT's benchmark_model for the device."
    ),
    flags.DEFINE_string("adb", None, "adb; default: $ADB, then PATH."),
    flags.DEFINE_string(
        "benchmark_model_url", None, "Where to download it instead."
    ),
    flags.DEFINE_string(
        "benchmark_model_sha256", None, "What the download must have."
    ),
    flags.DEFINE_list(
        "core_mask",
        None,
        "Comma-separated cores: hexadecimal masks, or names in core_masks.",
    ),
    flags.DEFINE_list(
        "delegates",
        None,
        "Comma-separated: xnnpack, builtin, gpu, nnapi, external:FILE.",
    ),
    flags.DEFINE_enum(
        "scenario",
        None,
        [benchmark_config.STANDARD, benchmark_config.SINGLE_STREAM],
        "single_stream: MLPerf's; >= 1024 runs and 60 s per round, p90.",
    ),
    flags.DEFINE_bool(
        "fixed_performance", None, "Use a device's mode. Default: true."
    ),
    flags.DEFINE_float("cool_down_secs", None, "Pause before each round."),
    flags.DEFINE_float("max_celsius", None, "Wait while a device is warmer."),
    flags.DEFINE_float("max_wait_secs", None, "Longest such wait, seconds."),
    flags.DEFINE_float(
        "reconnect_secs", None, "How long to wait for a lost device."
    ),
    flags.DEFINE_bool("profile_ops", None, "Also the time per operator."),
    flags.DEFINE_bool("resume", None, "Keep the rounds already in --output."),
    flags.DEFINE_string(
        "compare", None, "results.jsonl of an earlier run to compare with."
    ),
    flags.DEFINE_string(
        "max_regression", None, 'How much slower is allowed. Default: "3%".'
    ),
    flags.DEFINE_string(
        "export_report", None, "report.json of the export, for accuracy."
    ),
    flags.DEFINE_bool(
        "clean", None, "Remove the pushed files from the device at the end."
    ),
    flags.DEFINE_integer("seed", None, "Of the random input values."),
    flags.DEFINE_string(
        "output", None, 'Folder of the results; "" writes none.'
    ),
)


def main(_: Sequence[str]) -> None:
    """Runs the benchmark the flags describe.

    Raises:
        ValueError: if anything asked for was not measured, or became slower
            than is allowed.
    """
    signal.signal(signal.SIGTERM, _terminate)
    overrides = {flag.name: flag.value for flag in _OVERRIDES}
    overrides["threads"] = _numbers(overrides["threads"])
    config = benchmark_config.load(_CONFIG_FILE.value, overrides)
    devices = fleet.serials(config, _print)
    if devices:
        _run_fleet(config, devices)
    else:
        _run_one(config)


def _run_one(config):
    finished = benchmark.run(config, progress=_print)
    _print(latency_report.terminal_table(finished.aggregates))
    if finished.verdicts:
        _print(latency_report.comparison_table(finished.verdicts))
    if config.output:
        _print(f"results and report in {config.output}")
    if finished.failures:
        raise ValueError(
            f"{len(finished.failures)} of {len(finished.aggregates)} "
            "measurements lack rounds; the first: "
            f"{latency_report.problem(finished.failures[0])}"
        )
    found = [verdict.verdict for verdict in finished.verdicts]
    if comparison.REGRESSION in found:
        raise ValueError(
            f"{found.count(comparison.REGRESSION)} of {len(found)} are more "
            f"than {config.max_regression} slower than {config.compare}"
        )
    if comparison.UNDECIDED in found:
        sys.exit(_UNDECIDED_STATUS)


def _run_fleet(config, devices):
    aggregates, lacking = fleet.run(config, devices, _print)
    if aggregates:
        labelled = [
            dataclasses.replace(r, model=f"{r.device}: {r.model}")
            for r in aggregates
        ]
        _print(latency_report.terminal_table(labelled))
    _print(f"results and reports in folders of {config.output}")
    if lacking:
        raise ValueError(
            f"{len(lacking)} of {len(devices)} devices did not do all: "
            f"{', '.join(lacking)}; see above, and run again with --resume"
        )


def _terminate(number, _):
    # An exit, unlike the signal's default, undoes what a run has changed.
    sys.exit(128 + number)


def _numbers(texts):
    if texts is None:
        return None
    try:
        return [int(text) for text in texts]
    except ValueError as error:
        raise ValueError(
            f"--threads={','.join(texts)}: expected integers"
        ) from error


def _print(text):
    print(text, flush=True)


if __name__ == "__main__":
    cli.run(main)
