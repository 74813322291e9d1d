"""Searches on a toy task: trials that do train."""

import os
import pathlib
import random
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from numpy import testing

from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.fine_tuning import classification
from mobilebert_tf.fine_tuning import search
from mobilebert_tf.fine_tuning import search_folder
from mobilebert_tf.training import run_checkpoints

_ROOT = str(pathlib.Path(__file__).parents[2])
_RATE = (
    "trainer.optimizer_config.learning_rate.polynomial.initial_learning_rate"
)
_TRIAL = "batch_16_rate_0.02_epochs_1_seed_0"


@pytest.fixture(scope="module", name="data_dir")
def _data_dir(workspace):
    """SST-2's layout; the label is which half of the words a text uses."""
    folder = workspace.folder / "searched"
    folder.mkdir()
    rng = random.Random(7)
    half = len(workspace.words) // 2
    for split, count in (("train", 96), ("dev", 40), ("test", 5)):
        lines = ["sentence\tlabel"]
        for i in range(count):
            words = workspace.words[half:] if i % 2 else workspace.words[:half]
            lines.append(f"{' '.join(rng.choices(words, k=5))}\t{i % 2}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return str(folder)


def _params(workspace, data_dir, **overrides):
    return experiment_builder.build(
        classification_config.classification(),
        [],
        "",
        {
            "task.task_name": "SST-2",
            "task.data_dir": data_dir,
            "task.model.bert_config_file": workspace.student,
            "task.model.vocab_file": workspace.vocab_file,
            "task.max_seq_length": 8,
            "task.num_train_epochs": 1.0,
            "task.train_data.global_batch_size": 16,
            "trainer.steps_per_loop": 2,
            **overrides,
        },
    )


def _weights(folder):
    """Returns {name: value} of the model in the newest checkpoint."""
    checkpoint = tf.train.latest_checkpoint(folder)
    return {
        name: tf.train.load_variable(checkpoint, name)
        for name, _ in tf.train.list_variables(checkpoint)
        if name.startswith("model/")
    }


@pytest.mark.slow
def test_a_search(workspace, data_dir, tmp_path):
    """A divergent trial, and one that is as if it were alone."""
    params = _params(
        workspace, data_dir, **{"search.learning_rates": [1e30, 0.02]}
    )
    folder = str(tmp_path / "search")
    result = search.run_kind(classification.Classification, params, folder)

    alone = str(tmp_path / "alone")
    recorded = f"{folder}/trials/{_TRIAL}/params.yaml"
    classification.run(
        experiment_builder.build(
            classification_config.classification(), [recorded], "", {}
        ),
        alone,
        do_train=True,
        do_eval=True,
    )
    expected, found = _weights(f"{alone}/best"), _weights(f"{folder}/best")
    assert found.keys() == expected.keys()
    for name, value in found.items():
        testing.assert_array_equal(value, expected[name], err_msg=name)

    table = pathlib.Path(f"{folder}/search.tsv").read_text().splitlines()
    assert "\tfailed\t\tstep " in table[1]
    metrics = classification.run(
        classification_config.classification(), folder, False, True, "test"
    )
    assert metrics["accuracy"] == pytest.approx(result["accuracy"], abs=1e-6)
    assert pathlib.Path(f"{folder}/predictions_test.tsv").exists()
    assert not list(
        pathlib.Path(folder).glob(f"trials/*/{run_checkpoints.NAME}-*")
    )


def test_training_on_in_a_searchs_folder(workspace, data_dir, tmp_path):
    folder = str(tmp_path)
    pathlib.Path(folder, search_folder.REPORT_FILE).write_text("{}")
    with pytest.raises(ValueError, match="holds a search, .* give --search"):
        classification.run(_params(workspace, data_dir), folder, True, True)


@pytest.mark.parametrize(
    "change, predict_split, message",
    [
        ({"task.selection_metric": "luck"}, "", "selection_metric: .* 'luck'"),
        ({}, "test_mismatched", "split of SST-2: got 'test_mismatched'"),
        ({"search.seeds": []}, "", "search: got no values"),
    ],
)
def test_mistakes_show_before_the_first_trial(
    workspace, data_dir, tmp_path, change, predict_split, message
):
    params = _params(workspace, data_dir, **{"search.seeds": [1], **change})
    with pytest.raises(ValueError, match=message):
        search.run_kind(
            classification.Classification,
            params,
            str(tmp_path / "search"),
            predict_split,
        )
    assert not (tmp_path / "search").exists()


@pytest.mark.slow
def test_killed_and_resumed(workspace, data_dir, tmp_path):
    """Ends as a search that was not killed does."""
    params = _params(
        workspace,
        data_dir,
        **{"search.seeds": [1, 2], "trainer.checkpoint_interval": 2},
        **{"task.num_train_epochs": 4.0, _RATE: 0.02},
    )
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    search.run_kind(classification.Classification, params, whole)
    experiment_builder.write_params(params, str(tmp_path))
    first, second = sorted(os.listdir(f"{whole}/trials"))
    process = _start(tmp_path, killed)
    trial = pathlib.Path(killed, "trials", second)
    while not list(trial.glob("ckpt-*.index")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (trial / search_folder.TRIAL_FILE).exists()
    mark = pathlib.Path(killed, "trials", first, search_folder.TRIAL_FILE)
    written = mark.stat().st_mtime_ns
    assert _start(tmp_path, killed).wait() == 0
    assert mark.stat().st_mtime_ns == written
    for name in (search_folder.TABLE_FILE, search_folder.REPORT_FILE):
        contents = [pathlib.Path(f, name).read_text() for f in (whole, killed)]
        assert contents[0] == contents[1]
    expected, found = _weights(f"{whole}/best"), _weights(f"{killed}/best")
    for name, value in expected.items():
        testing.assert_array_equal(found[name], value, err_msg=name)


def _start(tmp_path, model_dir):
    """Starts a search in a process of its own."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mobilebert_tf.run_classifier",
            f"--config_file={tmp_path}/{experiment_builder.PARAMS_FILE}",
            f"--model_dir={model_dir}",
            "--search",
        ],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": _ROOT},
    )
