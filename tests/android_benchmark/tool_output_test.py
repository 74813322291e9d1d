"""The parser: every form, every captured file, damage of every kind."""

import dataclasses
import math
import random
import re

import pytest

from android_benchmark import tool_lines
from android_benchmark import tool_output

# All numbers are our own; the words are the tool's.
_LITERT = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Min num runs: [20]
INFO: Num threads: [2]
INFO: Graph: [model.tflite]
INFO: Loaded model model.tflite
INFO: XNNPACK delegate created.
INFO: Explicitly applied XNNPACK delegate, and the model graph will be \
partially executed by the delegate w/ 6 delegate kernels.
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
INFO: Note: as the benchmark tool itself affects memory footprint, the \
following is only APPROXIMATE.
INFO: Memory footprint delta from the start of the tool (MB): init=11.5 \
overall=12.25
"""
_TF_2_14 = """INFO: STARTING!
WARN: Duplicate flags: num_threads
INFO: Num threads: [1]
INFO: count=1 curr=1064326

INFO: count=5 first=1071349 curr=1042041 min=1042041 max=1371644 \
avg=1.15247e+06 std=116734

INFO: Inference timings in us: Init: 1444, First inference: 1064326, \
Warmup (avg): 1.06433e+06, Inference (avg): 1.15247e+06
INFO: Memory footprint delta from the start of the tool (MB): init=7 overall=8.5
INFO: Overall peak memory footprint (MB) via periodic monitoring: 17.5
"""
_TF_2_3 = """STARTING!
Num threads: [4]
Loaded model m.tflite
Initialized session in 5.1ms
Running benchmark for at least 1 iterations and at least 0.5 seconds
count=9 first=61000 curr=60010 min=59000 max=61000 avg=60120.5 std=600

Running benchmark for at least 10 iterations and at least 1 seconds
count=17 first=60100 curr=60200 min=59100 max=62000 avg=60300.7 std=512

Inference timings in us: Init: 5100, First inference: 61000, \
Warmup (avg): 60120.5, Inference (avg): 60300.7
Note: as the benchmark tool itself affects memory footprint, this is rough.
Peak memory footprint (MB): init=2.5 overall=30.25
"""
_TF_2_1 = """STARTING!
Min num runs: [50]
Num threads: [1]
Loaded model m.tflite
resolved reporter
INFO: Initialized TensorFlow Lite runtime.
Initialized session in 1.9ms
[Init Phase] - Memory usage: max resident set size = 9 MB, total malloc-ed \
size = 2 MB
Running benchmark for at least 1 iterations and at least 0.5 seconds
count=6 first=91810 curr=85097 min=84834 max=91810 avg=86184.3 std=2519

Running benchmark for at least 50 iterations and at least 1 seconds
count=50 first=88810 curr=84219 min=84216 max=99193 avg=86062 std=1678

[Overall] - Memory usage: max resident set size = 12 MB, total malloc-ed \
size = 3 MB
Average inference timings in us: Warmup: 86184.3, Init: 1900, no stats: 86062
"""
_V2 = """INFO: [benchmark_litert_model.cc:150] Loading model from: m.tflite
INFO: STARTING!
INFO: Num threads: [4]
INFO: count=5 first=61004 curr=60010 min=59003 max=61004 avg=60120.4 std=600

INFO: count=17 first=60100 curr=60200 min=59102 max=62001 avg=60304.7 std=512 \
p5=59110 median=60210 p95=61500

INFO: [benchmark_litert_model.h:88]\x20
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:89] Model initialization: 45.32 ms
INFO: [benchmark_litert_model.h:90] Warmup (first):       61.00 ms
INFO: [benchmark_litert_model.h:92] Warmup (avg):         60.12 ms (5 runs)
INFO: [benchmark_litert_model.h:94] Inference (avg):      60.30 ms (17 runs)
INFO: [benchmark_litert_model.h:97] Inference (min):      59.10 ms
INFO: [benchmark_litert_model.h:99] Inference (max):      62.00 ms
INFO: [benchmark_litert_model.h:101] Inference (std):      0.51
INFO: [benchmark_litert_model.h:107] No throughput data available.
INFO: [benchmark_litert_model.h:115]\x20
Memory Usage:
INFO: [benchmark_litert_model.h:116] Init footprint:       20.00 MB
INFO: [benchmark_litert_model.h:118] Overall footprint:    31.50 MB
INFO: [benchmark_litert_model.h:123] Peak memory:          40.25 MB
INFO: [benchmark_litert_model.h:130] ======================================

"""
_V2_PYTHON = """========================================
 BENCHMARK RESULTS
========================================
Model initialization:  45.32 ms
Warmup (first):        120.45 ms
Warmup (avg):          98.76 ms (5 runs)
Inference (avg):       85.23 ms (50 runs)
Inference (min):       82.10 ms
Inference (max):       92.45 ms
Inference (median):    84.50 ms
Inference (std):       3.21 ms
Inference (p5):        82.50 ms
Inference (p95):       91.00 ms
Throughput:            12.45 MB/s
========================================
"""
_PROFILED = _LITERT.replace(
    "INFO: Num threads", "INFO: Enable op profiling: [1]\nINFO: Num threads"
) + (
    """INFO: Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]
\tAllocateTensors\t0.3\t0.3\t100.000%\t100.000%\t512.000\t1\tAllocateTensors/0

Timings (microseconds): count=1 curr=320
Memory (bytes): count=0
1 nodes observed

INFO: Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]
\tSOFTMAX\t0.030\t0.050\t20.0%\t20.0%\t0.000\t1\t[probs]:0
\tFully Connected (NC, QS8) GEMM\t0.2\t0.1\t80.0%\t100.0%\t0.0\t2\tDelegate/FC:1

============================== Top by Computation Time \
==============================
\t[node type]\t[first]\t[avg ms]\t[%]\t[cdf%]\t[mem KB]\t[times called]\t[Name]
\tSOFTMAX\t0.030\t0.050\t20.0%\t20.0%\t0.000\t1\t[probs]:0

Number of nodes executed: 2
Timings (microseconds): count=40 first=300 curr=250 min=200 max=300 avg=250 \
std=20
Memory (bytes): count=0
2 nodes observed
"""
)
_SAMPLES = {
    "litert": _LITERT,
    "tf_2_14": _TF_2_14,
    "tf_2_3": _TF_2_3,
    "tf_2_1": _TF_2_1,
    "v2": _V2,
    "v2_python": _V2_PYTHON,
    "profiled": _PROFILED,
}


def test_litert():
    assert dataclasses.asdict(tool_output.read(_LITERT)) == {
        "measured": {
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
        "warmup": {
            "count": 18,
            "min_us": 210,
            "max_us": 400,
            "mean_us": 281.5,
            "std_us": 36,
            "p5_us": 215,
            "median_us": 273,
            "p90_us": None,
            "p95_us": 383,
            "p99_us": None,
        },
        "init_us": 10500,
        "first_inference_us": 400,
        "memory_delta_bytes": 12.25 * 2**20,
        "memory_peak_bytes": None,
        "threads": 2,
        "delegations": ({"name": "XNNPACK", "complete": False, "kernels": 6},),
        "warnings": (),
        "profile": None,
    }


def test_tf_2_14_has_no_percentiles_and_few_digits():
    output = tool_output.read(_TF_2_14)
    assert output.measured.max_us == 1371644
    assert output.measured.mean_us == 1152470
    assert output.measured.median_us is None
    assert output.warmup.count == 1
    assert output.memory_peak_bytes == 17.5 * 2**20
    assert output.warnings == ()


def test_tf_2_3_calls_the_peak_by_another_name():
    output = tool_output.read(_TF_2_3)
    assert (output.measured.count, output.threads) == (17, 4)
    assert output.first_inference_us == 61000
    assert output.memory_peak_bytes == 30.25 * 2**20
    assert output.memory_delta_bytes is None


def test_tf_2_1_gives_the_first_inference_with_the_warm_up():
    output = tool_output.read(_TF_2_1)
    assert output.measured.mean_us == 86062
    assert (output.init_us, output.first_inference_us) == (1900, 91810)
    assert output.memory_delta_bytes is None


def test_second_tool_is_read_with_its_exact_lines():
    output = tool_output.read(_V2)
    assert output.measured.mean_us == 60304.7
    assert output.measured.p95_us == 61500
    assert output.first_inference_us == 61000
    assert output.memory_delta_bytes == 31.5 * 2**20
    assert output.memory_peak_bytes == 40.25 * 2**20


def test_second_tool_without_count_lines_has_milliseconds():
    output = tool_output.read(_V2_PYTHON)
    assert output.measured.count == 50
    assert output.measured.mean_us == pytest.approx(85230)
    assert output.measured.median_us == pytest.approx(84500)
    assert output.warmup is None


def test_profile():
    profile = tool_output.read(_PROFILED).profile
    assert profile.runs == 40
    assert profile.by_kind() == {
        "Fully Connected (NC, QS8) GEMM": 0.2,
        "SOFTMAX": 0.05,
    }


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
    text = _LITERT.replace("INFO: ", prefix).replace("\n", newline)
    assert tool_output.read(text) == tool_output.read(_LITERT)


def test_logcat_prefixes_the_rows_of_a_profile():
    logcat = "".join(
        f"11-20 19:03:07.123  47  47 I tflite  : {line.removeprefix('INFO: ')}"
        for line in _PROFILED.splitlines(keepends=True)
    )
    assert tool_output.read(logcat) == tool_output.read(_PROFILED)


def test_all_the_same():
    same = _LITERT.replace(
        "count=40 first=304 curr=328 min=217 max=328 avg=256.657 std=39 p5=218 "
        "median=230 p95=309",
        "count=40 curr=7(all same)",
    ).replace("Inference (avg): 256.657", "Inference (avg): 7")
    latency = tool_output.read(same).measured
    assert (latency.count, latency.min_us, latency.mean_us) == (40, 7, 7)
    assert latency.std_us == 0 and latency.median_us is None


def test_no_warm_up():
    text = _TF_2_14.replace("count=1 curr=1064326", "count=0")
    assert tool_output.read(text).warmup is None


def test_unusual_warnings_are_kept():
    text = _LITERT.replace("INFO: Loaded", "WARN: Slow storage\nINFO: Loaded")
    assert tool_output.read(text).warnings == ("Slow storage",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("INFO: Graph", "WARN: Unconsumed cmdline flags: --x=1\nINFO: G"),
            "x=1",
        ),
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
        (("INFO: Loaded", "INFO: Num threads: [3]\nI"), r"\[2, 3\]"),
        (("count=40", "count=0"), "0 inferences"),
        (("Inference (avg): 256.657", "Inference (avg): 25.6"), "contradicts"),
        (("Inference timings in us", "Timings"), "two `count=` lines"),
        (("min=217 ", ""), "no min"),
        (("min=217", "min=257"), "contradicts itself: minimum"),
        (("median=230", "median=330"), "contradicts itself: minimum"),
        (("p95=309", "p95=1e999"), "contradicts|incomplete"),
        (("INFO: Memory footprint", "INFO: Mem"), "no line of memory"),
    ],
)
def test_what_speaks_against_a_result_is_an_error(change, message):
    assert change[0] in _LITERT
    changed = _LITERT.replace(*change)
    try:
        output = tool_output.read(changed)
    except tool_lines.BenchmarkOutputError as error:
        assert re.search(message, str(error))
    else:
        # A number that cannot be one is left out, never passed on.
        assert "1e999" in changed and output.measured.p95_us is None


def test_second_tool_must_agree_with_itself():
    with pytest.raises(tool_lines.BenchmarkOutputError, match="17 runs"):
        tool_output.read(_V2.replace("(17 runs)", "(18 runs)"))
    with pytest.raises(tool_lines.BenchmarkOutputError, match="mean"):
        tool_output.read(_V2.replace("60.30 ms", "60.40 ms"))


def test_exit_status_counts_even_after_a_complete_output():
    with pytest.raises(ValueError, match="status 139"):
        tool_output.read(_LITERT, returncode=139)
    with pytest.raises(ValueError, match="status 126.*ABI.*not executable"):
        tool_output.read("", "sh: not executable: 64-bit ELF file\n", 126)
    with pytest.raises(ValueError, match="status 137.*lack of memory"):
        tool_output.read("", "Killed\n", 137)


@pytest.mark.parametrize("name", _SAMPLES)
def test_a_truncated_output_is_never_a_result(name):
    text = _SAMPLES[name]
    whole = tool_output.read(text)
    # After the last line that is read, nothing is missing. (The peak of TF
    # 2.14 is a line that the other forms may lack.)
    complete_from = len(text)
    if name == "v2":
        complete_from = text.rindex("=") + 2
    elif name == "tf_2_14":
        complete_from = text.index("INFO: Overall peak")
    for end in range(complete_from):
        with pytest.raises(tool_lines.BenchmarkOutputError):
            tool_output.read(text[:end])
    after = tool_output.read(text[:complete_from])
    assert dataclasses.replace(after, memory_peak_bytes=None) == (
        dataclasses.replace(whole, memory_peak_bytes=None)
    )


@pytest.mark.parametrize("seed", range(20))
def test_no_damage_crashes_it_or_makes_a_number_that_is_none(seed):
    generator = random.Random(seed)
    alphabet = "\n\r\t=:.-+ e0123456789[]()aInfERROR\x00\x85\u2028é€"
    for _ in range(60):
        text = list(generator.choice(list(_SAMPLES.values())))
        for _ in range(generator.randint(1, 12)):
            start = generator.randrange(len(text))
            end = start + generator.choice((0, 1, 1, 2, 30, 400))
            size = generator.choice((0, 1, 1, 5, 50))
            text[start:end] = generator.choices(alphabet, k=size)
            text = text or ["\n"]
        try:
            output = tool_output.read("".join(text))
        except tool_lines.BenchmarkOutputError:
            continue
        latency = output.measured
        known = [
            value
            for value in dataclasses.asdict(latency).values()
            if value is not None
        ]
        assert all(math.isfinite(value) and value >= 0 for value in known)
        assert latency.min_us <= latency.max_us
        assert latency.count > 0


@pytest.mark.parametrize(
    ("name", "threads", "count", "mean_us", "median_us"),
    [
        ("2141_csv", None, 2, 30112.5, None),
        ("litert_plain", 1, 40, 25665.7, 23050),
        ("litert_prof", 2, 40, 25431.5, 25235),
        ("litert_profcsv", 2, 5, 24273, 24169),
        ("litert_profcsv_dep", 2, 5, 25440.2, 24634),
        ("litert_result", None, 5, 22375.2, 22341),
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
    output = tool_output.read(stdout, stderr)
    assert output.threads == threads
    assert output.measured.count == count
    assert output.measured.mean_us == mean_us
    assert output.measured.median_us == median_us
    assert output.memory_delta_bytes > 2**20


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("2141_badmodel", 1, "not a valid Flatbuffer"),
        ("2141_dryrun", 0, "dry run"),
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
    with pytest.raises(tool_lines.BenchmarkOutputError, match=message):
        tool_output.read(stdout, stderr, status)


@pytest.mark.parametrize(
    ("name", "operators", "total_ms"),
    [
        ("litert_prof", 104, 25.12),
        ("litert_arm64_qemu_prof", 104, 460.3),
        ("tf2.14.1_x86_noxnnpack_opprof", 141, 1152.19),
    ],
)
def test_captured_profiles(captured_logs, name, operators, total_ms):
    profile = tool_output.read(*_captured(captured_logs, name)).profile
    assert len(profile.operators) == operators
    # The tool's own total of the profiled runs.
    assert sum(profile.by_kind().values()) == pytest.approx(total_ms, rel=1e-3)


def test_captured_files_are_all_covered(captured_logs):
    names = {p.name.split(".std")[0] for p in captured_logs.glob("*.std*.txt")}
    tested = set()
    for test in (test_captured_measurements, test_captured_failures):
        (mark,) = [m for m in test.pytestmark if m.name == "parametrize"]
        tested |= {case[0] for case in mark.args[1]}
    assert names == tested


def _captured(folder, name):
    texts = []
    for stream in ("stdout", "stderr"):
        path = folder / f"{name}.{stream}.txt"
        texts.append(path.read_text() if path.exists() else "")
    return texts
