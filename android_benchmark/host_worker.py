"""The measured process of host mode: one model, one session, then it ends.

Reads a JSON request on stdin and writes one JSON answer on stdout:

    {"latencies_us": [...], "warmup_count": 5, "first_inference_us": 1.0,
     "init_us": 1.0, "peak_memory_bytes": 1, "peak_memory_delta_bytes": 1,
     "cpu_share": 1.0}

or {"error": "..."}; cpu_share is the part of the measured time for which the
measuring thread had a core. A process of its own per session makes
initialization, first inference and peak memory those of this model alone.
"""

import array
import contextlib
import json
import os
import sys
import time

import numpy as np
from ai_edge_litert import interpreter as litert

from android_benchmark import model_file
from mobilebert_tf import cli

_NANOSECONDS_PER_MICROSECOND = 1e3


def main() -> None:
    """Serves one request."""
    # LiteRT's native code may print: only the answer may reach stdout.
    answer_stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    try:
        answer = measure(request)
    except (ValueError, RuntimeError, OSError) as error:
        answer = {"error": cli.one_line(error)}
    with answer_stream:
        json.dump(answer, answer_stream)


def measure(request: dict) -> dict:
    """Measures one session in this process.

    Args:
        request: `model_path`, `threads`, `cores` (to run on), `inputs` (fields
            of ModelInput), `xnnpack` (else the interpreter's own kernels) and
            the fields of the same name of BenchmarkConfig.

    Returns:
        The answer described in the module.

    Raises:
        ValueError: if the model does not have the inputs of the request, or
            `max_secs` passes before `num_runs` inferences.
        RuntimeError: if LiteRT cannot prepare or run the model.
        OSError: if the cores are not available.
    """
    os.sched_setaffinity(0, request["cores"])
    inputs = [model_file.ModelInput(**fields) for fields in request["inputs"]]
    values = model_file.random_values(inputs, request["seed"])
    _reset_peak_memory()
    baseline_bytes = _memory_bytes("VmRSS")

    start = time.perf_counter_ns()
    interpreter = litert.Interpreter(
        model_path=request["model_path"],
        num_threads=request["threads"],
        experimental_op_resolver_type=(
            litert.OpResolverType.AUTO
            if request["xnnpack"]
            else litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    interpreter.allocate_tensors()
    init_us = (time.perf_counter_ns() - start) / _NANOSECONDS_PER_MICROSECOND
    _set_inputs(interpreter, inputs, values)

    warmup_us = _invoke_repeatedly(
        interpreter,
        # The first inference is always reported apart.
        max(request["warmup_runs"], 1),
        request["warmup_min_secs"],
        request["max_secs"],
    )
    begin = time.perf_counter(), time.thread_time()
    latencies_us = _invoke_repeatedly(
        interpreter,
        request["num_runs"],
        request["min_secs"],
        request["max_secs"],
    )
    wall_secs = time.perf_counter() - begin[0]
    cpu_secs = time.thread_time() - begin[1]
    if len(latencies_us) < request["num_runs"]:
        raise ValueError(
            f"{len(latencies_us)} of num_runs={request['num_runs']} "
            f"inferences fit into max_secs={request['max_secs']}: raise "
            "--max_secs or lower --num_runs"
        )
    peak_bytes = _memory_bytes("VmHWM")
    return {
        "latencies_us": latencies_us.tolist(),
        "cpu_share": min(cpu_secs / wall_secs, 1.0),
        "warmup_count": len(warmup_us),
        "first_inference_us": warmup_us[0],
        "init_us": init_us,
        "peak_memory_bytes": peak_bytes,
        "peak_memory_delta_bytes": max(peak_bytes - baseline_bytes, 0),
    }


def _set_inputs(interpreter, inputs, values):
    details = interpreter.get_input_details()
    for spec, detail, value in zip(inputs, details, values, strict=True):
        got = (np.dtype(detail["dtype"]).name, tuple(detail["shape"].tolist()))
        if got != (spec.dtype, tuple(spec.shape)):
            raise ValueError(
                f"input {spec.name!r}: the interpreter has {got}, expected "
                f"{(spec.dtype, tuple(spec.shape))} as read from the file"
            )
        interpreter.set_tensor(detail["index"], value)


def _invoke_repeatedly(interpreter, least_runs, least_secs, most_secs):
    """Returns the latency of each inference, in microseconds."""
    # 8 bytes each: a list would show in the peak memory of a small model.
    latencies_us = array.array("d")
    clock = time.perf_counter_ns
    begin = clock()
    elapsed_secs = 0.0
    while elapsed_secs < most_secs and (
        len(latencies_us) < least_runs or elapsed_secs < least_secs
    ):
        start = clock()
        interpreter.invoke()
        end = clock()
        latencies_us.append((end - start) / _NANOSECONDS_PER_MICROSECOND)
        elapsed_secs = (end - begin) / 1e9
    return latencies_us


def _reset_peak_memory():
    # Importing may have needed more than is resident now; without the right
    # to reset (some sandboxes) the peak includes it.
    with contextlib.suppress(OSError):
        with open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
            stream.write("5")


def _memory_bytes(field):
    """Returns VmRSS (now) or VmHWM (peak) of this process, in bytes.

    getrusage's ru_maxrss is no substitute: it survives exec and so starts at
    the parent's size.
    """
    with open("/proc/self/status", encoding="ascii") as stream:
        for line in stream:
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}: expected Linux's procfs")


if __name__ == "__main__":
    main()
