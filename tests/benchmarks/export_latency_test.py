"""What the export benchmark judges, and what it judges by.

No clock here: its bars are for a machine at rest.
"""

import dataclasses
import json
import os

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from benchmarks import export_bars
from benchmarks import export_files
from benchmarks import export_latency
from benchmarks import export_ours
from benchmarks import export_peers
from benchmarks import export_timing
from benchmarks import export_weights
from mobilebert_tf.modeling import config as config_lib

# At every limit.
_FIGURES = export_bars.Figures(
    milliseconds={
        "ours_float32": 51.5,
        "ours_int8": 17.5,
        "garden_float32": 50.0,
        "garden_int8_padded": 40.0,
        "garden_int8_unpadded": 60.0,
        "garden_dynamic": 21.0,
        "huggingface_float32": 52.0,
        "huggingface_dynamic": 20.0,
        "bert_base_float32": 210.0,
        "roof_float32": 51.5 / 1.08,
        "roof_int8": 14.0,
    },
    partitions={"ours_int8": 2},
    left_out={"ours_int8": 6},
    instructions={
        "ours_int8": 368.0,
        "garden_dynamic": 420.0,
        "huggingface_dynamic": 400.0,
    },
    sqnr_db={
        "ours_int8": 20.0,
        "garden_int8_padded": 9.0,
        "garden_int8_unpadded": 15.0,
    },
)


def _changed(field, **values):
    return dataclasses.replace(
        _FIGURES, **{field: {**getattr(_FIGURES, field), **values}}
    )


def _statuses(figures):
    return {
        verdict.name: verdict.status for verdict in export_bars.judge(figures)
    }


def test_figures_at_their_limits_meet_the_bars():
    assert set(_statuses(_FIGURES).values()) == {export_bars.MET}


@pytest.mark.parametrize(
    ("figures", "names"),
    [
        (
            _changed("milliseconds", ours_float32=51.4),
            {"int8 / our float32"},
        ),
        (
            _changed("milliseconds", huggingface_dynamic=19.0),
            {"int8 / best dynamic-range peer"},
        ),
        (
            _changed("milliseconds", garden_int8_unpadded=38.8),
            {"int8 / best converter-made int8"},
        ),
        (_changed("milliseconds", roof_int8=13.9), {"int8 / int8 roof"}),
        (
            _changed("milliseconds", garden_float32=49.9),
            {"float32 / best float32 peer"},
        ),
        (
            _changed("milliseconds", roof_float32=47.6),
            {"float32 / float32 roof"},
        ),
        (
            _changed("milliseconds", bert_base_float32=209.9),
            {"BERT_BASE float32 / our int8"},
        ),
        (_changed("partitions", ours_int8=3), {"XNNPACK partitions of int8"}),
        (
            _changed("left_out", ours_int8=7),
            {"operators that XNNPACK leaves out of int8"},
        ),
        (
            _changed("instructions", huggingface_dynamic=399.0),
            {"arm64 instructions, int8 / best dynamic-range peer"},
        ),
        (
            _changed("sqnr_db", garden_int8_unpadded=15.1),
            {"int8 SQNR over the best converter-made int8, dB"},
        ),
    ],
)
def test_each_bar_is_missed_by_its_own_figure(figures, names):
    statuses = _statuses(figures)
    missed = {name for name in statuses if statuses[name] == export_bars.MISSED}
    assert missed == names


def test_a_slower_peer_is_not_the_one_to_beat():
    figures = _changed("milliseconds", garden_dynamic=30.0)
    assert set(_statuses(figures).values()) == {export_bars.MET}


def test_what_was_not_measured_is_skipped_not_met():
    milliseconds = dict(_FIGURES.milliseconds)
    del milliseconds["huggingface_dynamic"]
    statuses = _statuses(
        dataclasses.replace(
            _FIGURES, milliseconds=milliseconds, instructions={}
        )
    )
    skipped = {
        name for name in statuses if statuses[name] == export_bars.SKIPPED
    }
    assert skipped == {
        "int8 / best dynamic-range peer",
        "arm64 instructions, int8 / best dynamic-range peer",
    }


def test_verdict_as_a_sentence():
    (verdict,) = (
        verdict
        for verdict in export_bars.judge(_changed("partitions", ours_int8=3))
        if verdict.status == export_bars.MISSED
    )
    assert str(verdict) == (
        "XNNPACK partitions of int8: expected at most 2, got 3"
    )


def test_a_tenth_of_the_amplitude_is_20_db():
    reference = np.array([3.0, -4.0], np.float32)
    assert export_bars.sqnr_db(reference, reference * 1.1) == pytest.approx(
        20.0, abs=1e-4
    )


def test_files_take_turns(monkeypatch):
    times = {"a": iter([[3.0, 1.0], [9.0, 2.0]]), "b": iter([[5.0], [7.0]])}
    order = []

    def run(command):
        order.append(command)
        name = next(part for part in command if "--model=" in part)[-1]
        figures = {
            "milliseconds": next(times[name]),
            "partitions": 1,
            "left_out": {},
        }
        return f"INFO: a line before\n{json.dumps(figures)}\n"

    monkeypatch.setattr(export_files, "run", run)
    measured = export_latency.measure({"a": "a", "b": "b"}, 2, [0, 1])
    assert measured["a"]["min_ms"] == 1.0
    assert measured["a"]["median_ms"] == 2.5
    assert measured["b"]["min_ms"] == 5.0
    assert "milliseconds" not in measured["b"]
    turns = [command[2] for command in order]
    assert {*turns[:2]} == {*turns[2:]} == {"--model=a", "--model=b"}
    assert {"--cores=0,1", "--num_threads=2"} <= set(order[0])


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("min_ms", {"ours_int8": 17.0, "roof_int8": 13.5}),
        ("median_ms", {"ours_int8": 18.0, "roof_int8": 14.0}),
    ],
)
def test_figures_are_those_of_the_report(statistic, expected):
    latency = {
        "ours_int8": {
            "min_ms": 17.0,
            "median_ms": 18.0,
            "partitions": 1,
            "left_out": {"GATHER": 2, "CAST": 1},
        },
        "roof_int8": {
            "min_ms": 99.0,
            "median_ms": 99.0,
            "partitions": 1,
            "left_out": {},
        },
    }
    figures = export_latency.figures_of(
        {
            "latency": latency,
            "roofs": {
                "roof_int8": {"gops": 400.0, "min_ms": 13.5, "median_ms": 14.0}
            },
            "instructions": {"ours_int8": 383.0},
            "sqnr_db": {"ours_int8": {"full": 20.0, "padded": 19.0}},
        },
        statistic,
    )
    assert figures.milliseconds == expected
    assert figures.left_out["ours_int8"] == 3
    assert figures.sqnr_db == {"ours_int8": 20.0}


def test_the_roof_scales_with_the_products():
    rows, width, num_layers = export_weights.ROOF_SHAPE
    macs = rows * width * width * num_layers
    latency = {
        "roof_float32": {"min_ms": 100.0, "median_ms": 120.0},
        "roof_int8": {"min_ms": 20.0, "median_ms": 30.0},
    }
    roofs = export_latency.roofs(latency, macs // 2)
    assert roofs["roof_float32"]["min_ms"] == pytest.approx(50.0)
    assert roofs["roof_int8"]["min_ms"] == pytest.approx(10.0)
    assert roofs["roof_int8"]["median_ms"] == pytest.approx(15.0)
    assert roofs["roof_float32"]["gops"] == pytest.approx(2 * macs / 0.1 / 1e9)


def test_instructions_are_read_from_whole_lines():
    output = (
        "ours_int8.tflite 383123 K instructions\n"
        "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
        "other.tflite  K instructions\n"
    )
    assert export_latency.parse_instructions(output) == {"ours_int8": 383.123}


def test_key_tells_where_files_end(tmp_path):
    def key(*contents):
        paths = []
        for index, content in enumerate(contents):
            paths.append(str(tmp_path / str(index)))
            (tmp_path / str(index)).write_bytes(content)
        return export_files.content_key(paths)

    assert key(b"ab", b"c") != key(b"a", b"bc")
    assert key(b"ab", b"c") == key(b"ab", b"c")


@pytest.fixture
def commands(monkeypatch):
    """Commands in place of running them; each makes what it is asked for."""
    seen = []

    def run(command):
        seen.append(command)
        folder = command[-1].removeprefix("--folder=")
        network = folder.split("/")[-1].split("-")[0]
        for variant in export_files.FILES[network]:
            with open(f"{folder}/{network}_{variant}.tflite", "w"):
                pass

    monkeypatch.setattr(export_files, "run", run)
    return seen


def test_files_of_others_are_kept_and_ours_are_made_anew(tmp_path, commands):
    for _ in range(2):
        for network in ("garden", "ours"):
            export_files.make(network, 128, str(tmp_path), None)
    assert [os.path.basename(command[1]) for command in commands] == [
        "export_peers.py",
        "export_ours.py",
        "export_ours.py",
    ]


def test_files_of_another_length_are_others(tmp_path, commands):
    first = export_files.make("garden", 128, str(tmp_path), None)
    second = export_files.make("garden", 384, str(tmp_path), None)
    assert len(commands) == 2
    assert not set(first) & set(second)


def test_no_files_without_an_interpreter_to_make_them(tmp_path, commands):
    assert export_files.make("huggingface", 128, str(tmp_path), None) == []
    assert not commands
    made = export_files.make("huggingface", 128, str(tmp_path), "hf/python")
    assert len(made) == 2
    assert commands[0][0] == "hf/python"


def test_a_failing_command_is_named_with_its_last_line():
    with pytest.raises(ValueError, match="^bash -c .*: no more$"):
        export_files.run(["bash", "-c", "echo no more >&2; exit 3"])


def test_weights_have_heavy_tails_and_no_trivial_norm():
    generator = np.random.default_rng(0)
    kernel = export_weights.draw("dense/kernel:0", [512, 512], generator)
    assert kernel.dtype == np.float32
    assert scipy.stats.kurtosis(kernel, axis=None) > 1.0  # 0 of a normal
    for name in ("norm/gamma:0", "NoNorm/weight:0"):
        gamma = export_weights.draw(name, [512], generator)
        assert 0.7 <= gamma.min() < 0.75 and 1.35 < gamma.max() <= 1.4
    assert np.all(export_weights.draw("norm/beta:0", [512], generator) != 0.0)


def test_a_table_named_weight_is_no_gamma():
    table = export_weights.draw(
        "word_embeddings/weight:0", [100, 8], np.random.default_rng(0)
    )
    assert table.min() < 0.0


def test_twins_give_the_same_outputs():
    config = config_lib.micro(vocab_size=50, num_hidden_layers=2)
    garden = export_peers.make_garden(config)
    twin = export_ours.make_twin(garden, config)
    inputs = export_peers.make_inputs(config.vocab_size, 3, 16, seed=0)
    is_real = inputs["input_mask"] == 1
    expected = garden.encoder_network(inputs)["sequence_output"].numpy()
    actual = twin.encoder(inputs)["sequence_output"].numpy()
    np.testing.assert_allclose(
        actual[is_real], expected[is_real], rtol=0.0, atol=1e-4
    )


def test_padded_and_full_inputs():
    padded = export_peers.make_inputs(50, 8, 16, seed=0)["input_mask"]
    full = export_peers.make_inputs(50, 8, 16, seed=0, is_padded=False)
    assert padded.sum(axis=1).min() < 16
    assert full["input_mask"].all()


def test_timing_input_is_a_full_sequence():
    shape = np.array([1, 8])
    make = export_timing.make_input
    ids = make("serving_default_input_word_ids:0", shape, np.int32)
    assert ids.min() >= 0 and len(set(ids[0])) > 1
    assert make("serving_default_input_mask:0", shape, np.int32).all()
    assert not make("serving_default_input_type_ids:0", shape, np.int32).any()
    assert make("x", shape, np.float32).dtype == np.float32


def test_operators_left_out_are_those_that_run_outside(tmp_path):
    generator = np.random.default_rng(0)
    kernels = generator.normal(size=[2, 64, 64]).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([64, 64], tf.float32)])
    def function(inputs):
        inputs = tf.nn.relu(inputs @ tf.constant(kernels[0]))
        inputs = tf.cumsum(inputs, axis=0)
        return tf.nn.relu(inputs @ tf.constant(kernels[1]))

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()]
    )
    path = tmp_path / "model.tflite"
    path.write_bytes(converter.convert())
    figures = export_timing.measure(str(path), num_threads=1, num_runs=3)
    assert figures["partitions"] == 2
    assert figures["left_out"] == {"CUMSUM": 1}
    assert len(figures["milliseconds"]) == 3
    assert min(figures["milliseconds"]) > 0.0
