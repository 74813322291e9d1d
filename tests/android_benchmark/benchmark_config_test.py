"""Flags over YAML over defaults, and what each refuses."""

import pathlib

import pytest

from android_benchmark import benchmark_config

_DEVICES = pathlib.Path(__file__).parents[2] / "configs/devices"


def _file(tmp_path, text):
    path = tmp_path / "device.yaml"
    path.write_text(text)
    return str(path)


def test_flags_override_the_file_and_the_file_the_defaults(tmp_path):
    path = _file(tmp_path, "threads: [1, 4]\nrounds: 7\nmin_secs: 5\n")
    config = benchmark_config.load(
        path, {"models": ["a"], "rounds": 2, "num_runs": None}
    )
    assert config.threads == (1, 4)
    assert config.rounds == 2
    assert config.min_secs == 5
    assert config.num_runs == 50


def test_every_device_file_loads():
    paths = sorted(_DEVICES.glob("*.yaml"))
    assert paths
    for path in paths:
        config = benchmark_config.load(str(path), {"models": ["a"]})
        assert all(setting.core_mask for setting in config.settings())
    pixel = benchmark_config.load(
        str(_DEVICES / "pixel_4.yaml"),
        {"models": ["a"], "core_mask": "prime_only", "threads": [1]},
    )
    assert [s.core_mask for s in pixel.settings()] == [1 << 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thread: [1]", "device.yaml: unknown key 'thread'; accepted: models,"),
        ("- a", "expected a mapping, got list"),
        ("a: [", "not YAML"),
        ("threads: 4", r"threads: expected a non-empty list, got 4"),
        ("threads: [0]", "threads: expected integers >= 1, got 0"),
        ("threads: [true]", "threads: expected integers >= 1, got True"),
        ("threads: [1, 1]", "threads: each may be given once"),
        ("threads: [[1, 4]]", r"threads: expected integers >= 1, got \[1, 4"),
        ("models: [{a: b}]", "models: expected a name, got {'a': 'b'}"),
        ("rounds: 0", "rounds: expected an integer >= 1, got 0"),
        ("num_runs: 1.5", "num_runs: expected an integer >= 1, got 1.5"),
        ("min_secs: x", "min_secs: expected seconds >= 0, got 'x'"),
        ("max_secs: 0.5", "max_secs: expected at least min_secs=1.0"),
        ("device: 5", "device: expected a name, got 5"),
        ("core_mask: 80", 'quoted hexadecimal mask such as "f0".*got 80'),
        ('core_mask: "0"', "core_mask: expected a quoted"),
        ("core_mask: [1]", "core_mask: expected a quoted.*got 1"),
        ('core_mask: ["3", "03"]', "core_mask: each may be given once"),
        ("delegates: [tpu]", "delegates: expected xnnpack, .*got 'tpu'"),
        ("delegates: [3]", "delegates: expected names, got 3"),
        ("scenario: offline", "standard or single_stream, got 'offline'"),
        ("max_celsius: warm", "max_celsius: expected degrees Celsius"),
        ("min_cpu_share: 2", "min_cpu_share: expected a share of 1, got 2"),
        ("cool_down_secs: -1", "cool_down_secs: expected seconds >= 0"),
        ("resume: 1", "resume: expected true or false, got 1"),
        ("core_mask: 0", "core_mask: expected a quoted.*got 0"),
        ("core_mask: big\ncore_masks: {all: ff}", "or one of all, got 'big'"),
        ("core_masks: {ff: f0}", "'ff' reads as a mask"),
        ("core_masks: [f0]", "core_masks: expected names"),
    ],
)
def test_a_wrong_file_is_one_clear_error(tmp_path, text, message):
    path = _file(tmp_path, text)
    with pytest.raises(ValueError, match=message):
        benchmark_config.load(
            path, {"models": None if "models" in text else ["a"]}
        )


def test_a_core_mask_has_a_core_for_each_thread():
    values = {"models": ["a"], "core_mask": "70"}
    config = benchmark_config.load(None, values | {"threads": [1, 3]})
    assert [(s.threads, s.core_mask) for s in config.settings()] == [
        (1, 0x70),
        (3, 0x70),
    ]
    with pytest.raises(
        ValueError, match="^threads=4: more than the cores.*70, which has 3;"
    ):
        benchmark_config.load(None, values | {"threads": [1, 4]})


def test_settings_are_all_that_fit():
    config = benchmark_config.BenchmarkConfig(
        models=("a",),
        threads=(1, 4),
        core_mask=("f0", "prime"),
        core_masks={"prime": "80"},
        delegates=("xnnpack", "gpu"),
    )
    found = [
        (s.threads, s.mask_text, s.delegate.key) for s in config.settings()
    ]
    # One core is not for four threads; the GPU needs no second count.
    assert found == [
        (1, "f0", "xnnpack"),
        (1, "f0", "gpu"),
        (1, "80", "xnnpack"),
        (1, "80", "gpu"),
        (4, "f0", "xnnpack"),
    ]
    assert config.settings()[-1].describe() == "4 threads, cores f0"


def test_single_stream_is_long_enough_for_mlperf():
    config = benchmark_config.BenchmarkConfig(
        models=("a",), scenario="single_stream", num_runs=5000, min_secs=1
    )
    assert (config.num_runs, config.min_secs) == (5000, 60)
    assert config.max_secs >= 600
    assert benchmark_config.BenchmarkConfig(models=("a",)).num_runs == 50


def test_models_and_file_must_exist():
    with pytest.raises(ValueError, match="--models is required"):
        benchmark_config.load(None, {"models": None})
    with pytest.raises(ValueError, match="nope.yaml.*no such file"):
        benchmark_config.load("nope.yaml", {"models": ["a"]})
