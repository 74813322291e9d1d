"""Searches on a toy task: trials that do train."""

import pathlib
import random

import pytest
import tensorflow as tf
from numpy import testing

from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import search_config
from mobilebert_tf.fine_tuning import classification
from mobilebert_tf.fine_tuning import search
from mobilebert_tf.training import run_checkpoints

_TRIAL = "batch_16_rate_{}_epochs_1_seed_{}"


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


def _run_trial(params, model_dir):
    classification.run(params, model_dir, do_train=True, do_eval=True)


def _weights(folder):
    """Returns {name: value} of the model in the newest checkpoint."""
    checkpoint = tf.train.latest_checkpoint(folder)
    return {
        name: tf.train.load_variable(checkpoint, name)
        for name, _ in tf.train.list_variables(checkpoint)
        if name.startswith("model/")
    }


def test_a_search(workspace, data_dir, tmp_path):
    """A divergent trial, and one that is as if it were alone."""
    params = _params(workspace, data_dir)
    space = search_config.SearchConfig(
        learning_rates=[1e30, 0.02], seeds=[1], num_train_epochs=[1.0]
    )
    folder = str(tmp_path / "search")
    result = search.run(params, space, folder, _run_trial, "accuracy")

    alone = str(tmp_path / "alone")
    recorded = f"{folder}/trials/{_TRIAL.format(0.02, 1)}/params.yaml"
    _run_trial(
        experiment_builder.build(
            classification_config.classification(), [recorded], "", {}
        ),
        alone,
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
