"""LiteRT's benchmark_model: its command line, and whether to believe it.

The tool often ends with status 0 after it measured something else than what
was asked: unknown flags and refused delegates are only warnings, and inputs
filled with random integers make BERT's lookups fail while a latency is still
printed. A measurement is therefore returned only if the output is complete,
says that it did what was asked, and nothing in it speaks against that.
"""

import shlex
from collections.abc import Sequence

from android_benchmark import benchmark_config
from android_benchmark import delegates
from android_benchmark import model_file
from android_benchmark import results
from android_benchmark import tool_lines
from android_benchmark import tool_output


def command(
    binary: str,
    graph: str,
    inputs: Sequence[model_file.ModelInput],
    setting: benchmark_config.Setting,
    config: benchmark_config.BenchmarkConfig,
    extra_flags: Sequence[str] = (),
) -> str:
    """Returns the command line for the device's shell, quoted.

    Args:
        binary: path of benchmark_model on the device.
        graph: path of the model on the device.
        inputs: of the model, in its order.
        setting: threads, cores and delegate.
        config: durations and counts.
        extra_flags: e.g. for a profile.
    """
    # Tensor names may hold the separators "," and ":" of these flags. The
    # tool matches inputs by position and only warns about other names.
    names = [f"input{i}" for i in range(len(inputs))]
    ranges = [
        f"{name},{spec.low},{spec.high}"
        for name, spec in zip(names, inputs, strict=True)
        if spec.low is not None
    ]
    arguments = [
        binary,
        f"--graph={graph}",
        f"--num_threads={setting.threads}",
        f"--warmup_runs={config.warmup_runs}",
        f"--warmup_min_secs={config.warmup_min_secs}",
        f"--num_runs={config.num_runs}",
        f"--min_secs={config.min_secs}",
        f"--max_secs={config.max_secs}",
        *setting.delegate.flags,
        f"--input_layer={','.join(names)}",
        "--input_layer_shape="
        + ":".join(",".join(map(str, spec.shape)) for spec in inputs),
    ]
    if ranges:
        arguments.append(f"--input_layer_value_range={':'.join(ranges)}")
    arguments.extend(extra_flags)
    if setting.core_mask is not None:
        arguments = ["taskset", setting.mask_text, *arguments]
    return shlex.join(arguments)


def parse(
    stdout: str,
    stderr: str,
    returncode: int,
    setting: benchmark_config.Setting,
    num_runs: int,
) -> results.Observation:
    """Returns what the tool measured.

    Args:
        stdout: what it printed there; LF or CR LF line ends.
        stderr: what it printed there.
        returncode: its exit status.
        setting: what it was asked for.
        num_runs: fewest inferences it was asked for.

    Raises:
        tool_lines.BenchmarkOutputError: if the run failed, was cut short or
            was not what was asked for.
    """
    output = tool_output.read(stdout, stderr, returncode)
    if output.threads != setting.threads:
        raise tool_lines.BenchmarkOutputError(
            f"benchmark_model did not confirm --num_threads={setting.threads}: "
            f"got `Num threads: [{output.threads}]`"
        )
    if output.measured.count < num_runs:
        raise tool_lines.BenchmarkOutputError(
            f"{output.measured.count} of num_runs={num_runs} "
            "inferences were made: raise --max_secs or lower --num_runs"
        )
    notes = delegates.check_applied(setting.delegate, output.delegations)
    measurement = results.Measurement(
        latency=output.measured,
        percentiles="reported",
        latencies_us=None,
        warmup_count=output.warmup.count if output.warmup else 0,
        first_inference_us=output.first_inference_us,
        init_us=output.init_us,
        peak_memory_bytes=output.memory_peak_bytes,
        peak_memory_delta_bytes=output.memory_delta_bytes,
    )
    return results.Observation(
        measurement=measurement,
        notes=(*notes, *(f"warning: {text}" for text in output.warnings)),
        profile=output.profile,
    )
