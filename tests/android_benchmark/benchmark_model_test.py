"""The command line of benchmark_model, and what makes its output a result."""

import shlex

import pytest

from android_benchmark import benchmark_config
from android_benchmark import benchmark_model
from android_benchmark import delegates
from android_benchmark import model_file
from android_benchmark import tool_lines

_OUTPUT = """INFO: STARTING!
INFO: Num threads: [2]
INFO: Explicitly applied XNNPACK delegate, and the model graph will be \
completely executed by the delegate.
INFO: count=18 first=400 curr=300 min=210 max=400 avg=281.5 std=36

INFO: count=40 first=304 curr=328 min=217 max=328 avg=256.657 std=39

INFO: Inference timings in us: Init: 10500, First inference: 400, \
Warmup (avg): 281.5, Inference (avg): 256.657
INFO: Memory footprint delta from the start of the tool (MB): init=1 overall=2.5
"""


def _setting(delegate="xnnpack", core_mask=None, threads=2):
    return benchmark_config.Setting(
        threads, core_mask, delegates.parse(delegate)
    )


def _parse(stdout, delegate="xnnpack"):
    return benchmark_model.parse(stdout, "", 0, _setting(delegate), 20)


def test_measurement():
    seen = _parse(_OUTPUT)
    assert seen.notes == ()
    measured = seen.measurement
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
        (("INFO: Explicitly", "INFO: Not"), "did not say.*names none"),
        (("XNNPACK", "GPU"), "names GPU.*--delegates"),
    ],
)
def test_something_else_than_asked_is_an_error(change, message):
    assert change[0] in _OUTPUT
    with pytest.raises(tool_lines.BenchmarkOutputError, match=message):
        _parse(_OUTPUT.replace(*change))


def test_what_a_delegate_leaves_to_the_cpu_is_noted():
    partial = _OUTPUT.replace("XNNPACK", "GPU").replace(
        "completely executed by the delegate.",
        "partially executed by the delegate w/ 3 delegate kernels.",
    )
    (note,) = _parse(partial, "gpu").notes
    assert "3 kernels" in note and "the rest ran on the CPU" in note
    # On the CPU, all that is left runs there anyway.
    assert _parse(partial.replace("GPU", "XNNPACK")).notes == ()


def test_a_delegate_is_named_to_the_tool():
    config = benchmark_config.BenchmarkConfig(models=("m",))

    def flags(delegate):
        setting = _setting(delegate)
        return benchmark_model.command("t", "m", [], setting, config)

    assert "--use_gpu=true" in flags("gpu")
    assert "--use_nnapi=true --disable_nnapi_cpu=true" in flags("nnapi")
    assert "--use_xnnpack=false" in flags("builtin")
    with pytest.raises(ValueError, match="xnnpack.*external:FILE.*'tpu'"):
        delegates.parse("tpu")


def test_command_line():
    config = benchmark_config.BenchmarkConfig(
        models=("m",),
        warmup_runs=3,
        warmup_min_secs=0.25,
        num_runs=20,
        min_secs=2,
        max_secs=30,
    )
    inputs = (
        model_file.ModelInput("types:0", "int32", (1, 128), 0, 0),
        model_file.ModelInput("ids,x", "int32", (1, 128), 0, 30521),
        model_file.ModelInput("scale", "float32", (1,), None, None),
    )
    line = benchmark_model.command(
        "bin dir/tool", "m;x", inputs, _setting("xnnpack", 0xF0, 4), config
    )
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
