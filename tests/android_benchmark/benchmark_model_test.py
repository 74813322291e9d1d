"""The command line of benchmark_model, and what makes its output a result."""

import shlex

import pytest

from android_benchmark import benchmark_config
from android_benchmark import benchmark_model
from android_benchmark import model_file
from android_benchmark import tool_lines

_OUTPUT = """INFO: STARTING!
INFO: Num threads: [2]
INFO: count=18 first=400 curr=300 min=210 max=400 avg=281.5 std=36

INFO: count=40 first=304 curr=328 min=217 max=328 avg=256.657 std=39

INFO: Inference timings in us: Init: 10500, First inference: 400, \
Warmup (avg): 281.5, Inference (avg): 256.657
INFO: Memory footprint delta from the start of the tool (MB): init=1 overall=2.5
"""


def _parse(stdout, threads=2, num_runs=20):
    return benchmark_model.parse(stdout, "", 0, threads, num_runs)


def test_measurement():
    measured = _parse(_OUTPUT)
    assert measured.latency.mean_us == 256.657
    assert measured.percentiles == "reported"
    assert (measured.warmup_count, measured.init_us) == (18, 10500)
    assert measured.peak_memory_delta_bytes == 2.5 * 2**20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("Num threads: [2]", "Num threads: [4]"), r"num_threads=2.*\[4\]"),
        (("INFO: Num threads: [2]\n", ""), r"\[None\]"),
        (("count=40", "count=19"), "19 of num_runs=20"),
    ],
)
def test_something_else_than_asked_is_an_error(change, message):
    assert change[0] in _OUTPUT
    with pytest.raises(tool_lines.BenchmarkOutputError, match=message):
        _parse(_OUTPUT.replace(*change))


def test_command_line():
    config = benchmark_config.BenchmarkConfig(
        models=("m",),
        warmup_runs=3,
        warmup_min_secs=0.25,
        num_runs=20,
        min_secs=2,
        max_secs=30,
        core_mask="f0",
    )
    inputs = (
        model_file.ModelInput("types:0", "int32", (1, 128), 0, 0),
        model_file.ModelInput("ids,x", "int32", (1, 128), 0, 30521),
        model_file.ModelInput("scale", "float32", (1,), None, None),
    )
    line = benchmark_model.command("bin dir/tool", "m;x", inputs, 4, config)
    assert shlex.split(line) == [
        "taskset",
        "f0",
        "bin dir/tool",
        "--graph=m;x",
        "--num_threads=4",
        "--warmup_runs=3",
        "--warmup_min_secs=0.25",
        "--num_runs=20",
        "--min_secs=2",
        "--max_secs=30",
        "--use_xnnpack=true",
        "--input_layer=input0,input1,input2",
        "--input_layer_shape=1,128:1,128:1",
        "--input_layer_value_range=input0,0,0:input1,0,30521",
    ]
