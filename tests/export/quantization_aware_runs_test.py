"""Whole runs that are quantisation-aware, and the export of their models."""

import os
import shutil

import numpy as np
import pytest
import small_models
import tensorflow as tf

from export import exporter
from mobilebert_tf import model_directory
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.fine_tuning import classification
from mobilebert_tf.quantization_aware import ranges as ranges_lib
from mobilebert_tf.training import training_log

_STEPS = 6


def _run(start, model_dir, **given):
    params = experiment_builder.build(
        classification_config.classification(),
        [],
        "",
        {
            "task.init_checkpoint": str(start),
            "task.task_name": "SST-2",
            "task.data_dir": str(start / "task"),
            "task.max_seq_length": small_models.SEQUENCE_LENGTH,
            "task.train_data.global_batch_size": 16,
            "task.quantization_aware": True,
            "task.quantization.calibration_batches": 2,
            "trainer.train_steps": _STEPS,
            "trainer.steps_per_loop": 3,
            "trainer.checkpoint_interval": 3,
            "trainer.validation_interval": _STEPS,
            "trainer.max_to_keep": 9,
            **given,
        },
    )
    return classification.run(
        params, str(model_dir), do_train=True, do_eval=True
    )


@pytest.fixture(scope="module", name="start")
def _start(tmp_path_factory):
    """Folder of a model that is fine-tuned in float."""
    folder = tmp_path_factory.mktemp("float") / "model"
    small_models.write_model_directory(str(folder))
    return folder


@pytest.fixture(scope="module", name="trained")
def _trained(start, tmp_path_factory):
    """Folder and metrics of a quantisation-aware run."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, _run(start, folder)


def _variables(folder):
    reader = tf.train.load_checkpoint(
        model_directory.latest_checkpoint(str(folder))
    )
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


def test_it_starts_warm_and_stays_finite(trained):
    folder, metrics = trained
    # A fresh head would have half of them wrong.
    assert metrics["accuracy"] > 0.7
    for row in training_log.read_metrics(str(folder)):
        assert np.isfinite(row.get("training_loss", 0.0))
    for values in _variables(folder).values():
        assert np.all(np.isfinite(values))


def test_the_int8_file_needs_no_calibration_data(start, trained, tmp_path):
    """It gives what the run's own evaluation was of."""
    folder, metrics = trained
    data_dir = tmp_path / "task"
    data_dir.mkdir()
    shutil.copy(start / "task" / "dev.tsv", data_dir)
    result = exporter.export(
        exporter.Options(
            model_dir=str(folder),
            output=str(tmp_path / "tflite"),
            variants=("int8",),
            data={"data_dir": str(data_dir)},
            max_metric_drop=10.0,
        )
    )
    (variant,) = result.variants
    assert not variant.error
    measured = variant.verdict.metrics
    assert measured["accuracy"] == metrics["accuracy"]
    assert measured["validation_loss"] == pytest.approx(
        metrics["validation_loss"], abs=2e-3
    )


def test_a_killed_run_goes_on_to_the_same_weights_and_ranges(
    start, trained, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    for path in folder.glob(f"ckpt-{_STEPS}.*"):
        path.unlink()
    shutil.rmtree(folder / "best")
    (folder / "checkpoint").write_text(
        'model_checkpoint_path: "ckpt-3"\n'
        'all_model_checkpoint_paths: "ckpt-3"\n'
    )
    _run(start, folder)
    ours, theirs = _variables(folder), _variables(trained[0])
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)


def test_the_model_is_an_ordinary_one_without_its_ranges(trained):
    folder, _ = trained
    best = os.path.join(folder, "best")
    model = model_directory.load(best)
    assert not hasattr(model.model, model_directory.INT8_RANGES)
    assert ranges_lib.read(model.checkpoint)


@pytest.mark.slow
def test_learned_ranges_are_trained(start, tmp_path):
    _run(
        start,
        tmp_path,
        **{
            "task.quantization.ranges": "learned",
            "trainer.optimizer_config.learning_rate.polynomial."
            "initial_learning_rate": 1e-2,
        },
    )
    moved = [
        np.any(values)
        for name, values in _variables(tmp_path).items()
        if name.startswith("model/int8_ranges/") and ".Sfactors" in name
    ]
    assert np.mean(moved) > 0.5


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("quantization.ranges", "guessed", "expected one of averaged, learned"),
        ("quantization.decay", 1.0, "less than 1, got 1.0"),
        ("quantization.calibration_batches", 0, "expected at least 1, got 0"),
        ("quantization.following_share", 1.5, "expected 0 to 1, got 1.5"),
        ("distillation.attention_factor", 0.5, "expected 0 with"),
    ],
)
def test_mistakes_show_before_anything_is_written(
    start, tmp_path, field, value, message
):
    folder = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        _run(start, folder, **{f"task.{field}": value})
    assert not (folder / "model_info.json").exists()
