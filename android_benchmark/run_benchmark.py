"""Measures the latency of .tflite models on this machine or over adb.

    python android_benchmark/run_benchmark.py --models=a.tflite,b.tflite \
        --device=host --threads=1,2 --output=out/benchmark

Writes results.jsonl, setup.json and report.html to --output and prints a
table. Flags override --config_file; the rest has the defaults of
BenchmarkConfig.
"""

from collections.abc import Sequence

from absl import flags

from android_benchmark import benchmark
from android_benchmark import benchmark_config
from android_benchmark import latency_report
from mobilebert_tf import cli

_CONFIG_FILE = flags.DEFINE_string(
    "config_file", None, "YAML with fields of BenchmarkConfig."
)
_OVERRIDES = (
    flags.DEFINE_list("models", None, "Comma-separated .tflite files."),
    flags.DEFINE_string(
        "device",
        None,
        "host, an adb serial, adb (the one attached device), or auto (the "
        "attached device if exactly one and --benchmark_model is given, else "
        "host). Default: auto.",
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
        "core_mask", None, "Cores: hexadecimal, or a name in core_masks."
    ),
    flags.DEFINE_integer("seed", None, "Of the random input values."),
    flags.DEFINE_string(
        "output", None, 'Folder of the results; "" writes none.'
    ),
)


def main(_: Sequence[str]) -> None:
    """Runs the benchmark the flags describe.

    Raises:
        ValueError: if anything asked for was not measured.
    """
    overrides = {flag.name: flag.value for flag in _OVERRIDES}
    overrides["threads"] = _numbers(overrides["threads"])
    config = benchmark_config.load(_CONFIG_FILE.value, overrides)
    finished = benchmark.run(config, progress=_print)
    _print(latency_report.terminal_table(finished.aggregates))
    if config.output:
        _print(f"results and report in {config.output}")
    if finished.failures:
        raise ValueError(
            f"{len(finished.failures)} of {len(finished.aggregates)} "
            "measurements lack rounds; the first: "
            f"{latency_report.problem(finished.failures[0])}"
        )


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
