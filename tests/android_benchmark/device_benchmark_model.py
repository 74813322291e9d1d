"""A benchmark_model for the fake device: runs the model, prints the format.

It takes the flags the harness uses, fills the inputs within
--input_layer_value_range and runs LiteRT: a real executable that measures.
"""

import sys
import time

import numpy as np
from ai_edge_litert import interpreter as litert

_KNOWN = {
    "graph",
    "num_threads",
    "warmup_runs",
    "warmup_min_secs",
    "num_runs",
    "min_secs",
    "max_secs",
    "use_xnnpack",
    "input_layer",
    "input_layer_shape",
    "input_layer_value_range",
}


def main():
    if "--help" in sys.argv:
        print("Flags:", file=sys.stderr)
        for name in _KNOWN:
            print(f"\t--{name}=0\tstring\toptional\ttext", file=sys.stderr)
        sys.exit(1)
    given = [argument.lstrip("-").split("=", 1) for argument in sys.argv[1:]]
    unknown = [f"--{k}={v}" for k, v in given if k not in _KNOWN]
    flags = dict(given)
    threads = int(flags["num_threads"])
    print("INFO: STARTING!")
    if flags["use_xnnpack"] == "true":
        print(
            "INFO: Explicitly applied XNNPACK delegate, and the model graph "
            "will be completely executed by the delegate."
        )
    if unknown:
        print(f"WARN: Unconsumed cmdline flags: {' '.join(unknown)}")
    print(f"INFO: Num threads: [{threads}]")
    print(f"INFO: Graph: [{flags['graph']}]", flush=True)
    start = time.perf_counter()
    interpreter = litert.Interpreter(flags["graph"], num_threads=threads)
    interpreter.allocate_tensors()
    init_us = (time.perf_counter() - start) * 1e6
    fill(interpreter, flags)
    warmup = phase(
        interpreter, int(flags["warmup_runs"]), float(flags["warmup_min_secs"])
    )
    measured = phase(
        interpreter, int(flags["num_runs"]), float(flags["min_secs"])
    )
    print(
        f"INFO: Inference timings in us: Init: {init_us:.0f}, First inference:"
        f" {warmup[0]}, Warmup (avg): {np.mean(warmup):g}, Inference (avg): "
        f"{np.mean(measured):g}"
    )
    print(
        "INFO: Memory footprint delta from the start of the tool (MB): "
        "init=1.5 overall=2.5"
    )


def fill(interpreter, flags):
    """Sets random inputs within the ranges of the flags."""
    ranges = {}
    for item in flags["input_layer_value_range"].split(":"):
        name, low, high = item.split(",")
        ranges[name] = int(low), int(high)
    layers = zip(
        flags["input_layer"].split(","),
        flags["input_layer_shape"].split(":"),
        interpreter.get_input_details(),
        strict=True,
    )
    for name, shape, detail in layers:
        low, high = ranges[name]
        size = [int(text) for text in shape.split(",")]
        value = np.random.randint(low, high + 1, size).astype(detail["dtype"])
        interpreter.set_tensor(detail["index"], value)


def phase(interpreter, runs, seconds):
    """Invokes often enough, prints the count line, returns microseconds."""
    print(f"INFO: Running benchmark for at least {runs} iterations", flush=True)
    latencies = []
    begin = time.perf_counter()
    while len(latencies) < runs or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        interpreter.invoke()
        latencies.append(round((time.perf_counter() - start) * 1e6))
    values = np.array(latencies)
    print(
        f"INFO: count={len(values)} first={values[0]} curr={values[-1]} "
        f"min={values.min()} max={values.max()} avg={values.mean():g} "
        f"std={values.std():.0f} p5={np.percentile(values, 5):.0f} "
        f"median={np.median(values):.0f} p95={np.percentile(values, 95):.0f}\n",
        flush=True,
    )
    return latencies


if __name__ == "__main__":
    main()
