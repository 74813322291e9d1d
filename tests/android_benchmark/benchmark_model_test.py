"""The command line and the parser of benchmark_model."""

import dataclasses
import shlex

import pytest

from android_benchmark import benchmark_config
from android_benchmark import benchmark_model
from android_benchmark import model_file

# In the format of LiteRT 2.3, with numbers of our own.
_NEW = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [20]
INFO: Num threads: [2]
INFO: Graph: [model.tflite]
INFO: Loaded model model.tflite
INFO: The input model file size (MB): 3.5
INFO: Initialized session in 10.5ms.
INFO: Running benchmark for at least 3 iterations and at least 0.5 seconds.
INFO: count=18 first=400 curr=300 min=210 max=400 avg=281.5 std=36 p5=215 \
median=273 p95=383

INFO: Running benchmark for at least 20 iterations and at least 1 seconds.
INFO: count=40 first=304 curr=328 min=217 max=328 avg=256.657 std=39 p5=218 \
median=230 p95=309

INFO: Inference timings in us: Init: 10500, First inference: 400, \
Warmup (avg): 281.5, Inference (avg): 256.657
INFO: Note: this is only APPROXIMATE.
INFO: Memory footprint delta from the start of the tool (MB): init=11.5 \
overall=12.25
INFO: Overall peak memory footprint (MB) via periodic monitoring: 17.5
"""
# Before LiteRT: no percentiles, and large numbers with 6 digits.
_OLD = """INFO: STARTING!
WARN: Duplicate flags: num_threads
INFO: Num threads: [1]
INFO: count=1 curr=1064326

INFO: count=5 first=1071349 curr=1042041 min=1042041 max=1371644 \
avg=1.15247e+06 std=116734

INFO: Inference timings in us: Init: 1444, First inference: 1064326, \
Warmup (avg): 1.06433e+06, Inference (avg): 1.15247e+06
"""


def _parse(stdout, stderr="", returncode=0, threads=2, num_runs=20):
    return benchmark_model.parse(stdout, stderr, returncode, threads, num_runs)


def test_new_form():
    measured = _parse(_NEW)
    assert dataclasses.asdict(measured) == {
        "latency": {
            "count": 40,
            "min_us": 217,
            "max_us": 328,
            "mean_us": 256.657,
            "std_us": 39,
            "p5_us": 218,
            "median_us": 230,
            "p90_us": None,
            "p95_us": 309,
            "p99_us": None,
        },
        "percentiles": "reported",
        "latencies_us": None,
        "warmup_count": 18,
        "first_inference_us": 400,
        "init_us": 10500,
        "peak_memory_bytes": 17.5 * 2**20,
        "peak_memory_delta_bytes": 12.25 * 2**20,
    }


def test_old_form():
    measured = _parse(_OLD, threads=1, num_runs=5)
    assert measured.latency.max_us == 1371644
    assert measured.latency.mean_us == 1152470
    assert measured.latency.median_us is None
    assert measured.warmup_count == 1
    assert measured.peak_memory_delta_bytes is None


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "INFO: ",
        "I tflite  : ",
        "I/tflite  ( 4711): ",
        "11-20 19:03:07.123  4711  4711 I tflite  : ",
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_prefixes_and_line_ends(prefix, newline):
    text = _NEW.replace("INFO: ", prefix).replace("\n", newline)
    assert _parse(text) == _parse(_NEW)


def test_all_the_same_and_a_single_run():
    same = _NEW.replace(
        "count=40 first=304 curr=328 min=217 max=328 avg=256.657 std=39 p5=218 "
        "median=230 p95=309",
        "count=40 curr=7(all same)",
    ).replace("Inference (avg): 256.657", "Inference (avg): 7")
    latency = _parse(same).latency
    assert (latency.count, latency.min_us, latency.mean_us) == (40, 7, 7)
    assert latency.std_us == 0 and latency.median_us is None


def test_no_warm_up():
    text = _OLD.replace("count=1 curr=1064326", "count=0")
    assert _parse(text, threads=1, num_runs=5).warmup_count == 0


def test_truncated_output_is_never_a_different_measurement():
    # Memory comes after the final line; without it the rest is complete.
    whole = _parse(_NEW)
    complete_from = _NEW.index("INFO: Note")
    for end in range(len(_NEW)):
        try:
            measured = _parse(_NEW[:end])
        except benchmark_model.BenchmarkOutputError:
            continue
        assert end >= complete_from
        assert measured.latency == whole.latency
        assert measured.peak_memory_bytes in (None, whole.peak_memory_bytes)
        assert measured.peak_memory_delta_bytes in (
            None,
            whole.peak_memory_delta_bytes,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("INFO: Graph", "WARN: Unconsumed cmdline flags: --x=1\nINFO: G"),
            "x=1",
        ),
        (("Num threads: [2]", "Num threads: [4]"), r"\[4\]"),
        (("INFO: Num threads: [2]\n", ""), r"\[\]"),
        (("INFO: Loaded", "ERROR: gather index out of bounds\nI"), "gather"),
        (
            (
                "INFO: Loaded",
                "INFO: graph will not be executed by the delegate\nI",
            ),
            "took no part",
        ),
        (("INFO: Loaded", "Error in cpuinfo: bad\nI"), "cpuinfo"),
        (("INFO: Loaded", "E/tflite  ( 47): no memory\nI"), "no memory"),
        (("count=40", "count=19"), "19 of num_runs=20"),
        (("count=40", "count=0"), "0 of num_runs=20"),
        (("Inference (avg): 256.657", "Inference (avg): 25.6"), "contradicts"),
        (("Inference timings in us", "Timings"), "two `count=` lines"),
        (("min=217 ", ""), "no min"),
    ],
)
def test_what_speaks_against_a_result_is_an_error(change, message):
    assert change[0] in _NEW
    with pytest.raises(benchmark_model.BenchmarkOutputError, match=message):
        _parse(_NEW.replace(*change))


def test_exit_status_counts_even_after_a_complete_output():
    with pytest.raises(ValueError, match="status 139"):
        _parse(_NEW, returncode=139)
    with pytest.raises(ValueError, match="status 126.*ABI.*not executable"):
        _parse("", "sh: not executable: 64-bit ELF file\n", returncode=126)
    with pytest.raises(ValueError, match="Invalid argument"):
        _parse(
            "", "taskset: failed to set pid 1's affinity: Invalid argument", 1
        )


@pytest.mark.parametrize(
    ("name", "threads", "count", "mean_us", "median_us"),
    [
        ("litert_plain", 1, 40, 25665.7, 23050),
        ("litert_prof", 2, 40, 25431.5, 25235),
        ("litert_profcsv", 2, 5, 24273, 24169),
        ("litert_bert_range", 2, 3, 155528, 154470),
        ("litert_arm64_qemu_prof", 1, 2, 461971, 488417),
        ("e2e_adbd_2141_taskset", 1, 20, 32854.6, None),
        ("tf2.14.1_x86_noxnnpack_opprof", 1, 5, 1152470, None),
    ],
)
def test_captured_measurements(
    captured_logs, name, threads, count, mean_us, median_us
):
    stdout, stderr = _captured(captured_logs, name)
    latency = _parse(stdout, stderr, 0, threads, num_runs=1).latency
    assert latency.count == count
    assert latency.mean_us == mean_us
    assert latency.median_us == median_us


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("2141_badmodel", 1, "not a valid Flatbuffer"),
        ("2141_dryrun", 0, "did not confirm"),
        ("2141_missing", 1, "Could not open"),
        ("2141_nograph", 1, "Please specify"),
        ("2141_unknown", 0, "ignored them: --foo=1"),
        ("2141_usegpu", 0, "ignored them: --use_gpu=true"),
        ("litert_badflag", 1, "Failed to parse flag"),
        ("litert_bert_random", 1, "gather index out of bounds"),
        ("litert_gpu", 0, "ignored them: --use_gpu=true"),
        ("litert_missing", 1, "Could not open"),
        ("litert_help", 1, "status 1"),
    ],
)
def test_captured_failures(captured_logs, name, status, message):
    stdout, stderr = _captured(captured_logs, name)
    with pytest.raises(benchmark_model.BenchmarkOutputError, match=message):
        _parse(stdout, stderr, status, threads=1, num_runs=1)


def _captured(folder, name):
    texts = []
    for stream in ("stdout", "stderr"):
        path = folder / f"{name}.{stream}.txt"
        texts.append(path.read_text() if path.exists() else "")
    return texts


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
