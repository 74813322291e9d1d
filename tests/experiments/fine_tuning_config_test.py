"""The recipes of tagging and multiple choice fit their experiments."""

import pathlib
import shlex

import pytest
import yaml

from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import multiple_choice_config
from mobilebert_tf.experiments import tagging_config

_ROOT = pathlib.Path(__file__).parents[2]
_DEFAULTS = {
    "tagging": tagging_config.tagging,
    "multiple_choice": multiple_choice_config.multiple_choice,
}
_RECIPES = [
    (kind, str(path.relative_to(_ROOT)))
    for kind in _DEFAULTS
    for path in sorted((_ROOT / "configs" / kind).glob("*.yaml"))
]


@pytest.mark.parametrize("kind, recipe", _RECIPES)
def test_recipe(kind, recipe):
    params = experiment_builder.build(
        _DEFAULTS[kind](), [str(_ROOT / recipe)], "", {}
    )
    assert 2 <= params.task.num_train_epochs <= 10
    assert params.task.train_data.global_batch_size in (16, 32, 48)


@pytest.mark.parametrize("kind, recipe", _RECIPES)
def test_the_header_has_the_recipes_command(kind, recipe):
    lines = (_ROOT / recipe).read_text().splitlines()
    header = [line.removeprefix("#") for line in lines if line.startswith("#")]
    text = "\n".join(header).replace("\\\n", " ")
    (command,) = [line for line in text.splitlines() if "python -m" in line]
    assert f"--config_file={recipe}" in shlex.split(command)


def test_every_kind_has_a_recipe():
    assert {kind for kind, _ in _RECIPES} == set(_DEFAULTS)


def test_what_is_read_is_recorded_by_its_whole_path(tmp_path, monkeypatch):
    """A record is used from other folders too."""
    monkeypatch.chdir(tmp_path)
    params = experiment_builder.build(
        classification_config.classification(),
        [],
        "",
        {
            "task.table.train_file": "train.csv",
            "task.table.dev_file": "gs://bucket/dev.csv",
        },
    )
    experiment_builder.write_params(params, str(tmp_path))
    task = yaml.safe_load((tmp_path / "params.yaml").read_text())["task"]
    assert task["table"]["train_file"] == str(tmp_path / "train.csv")
    assert task["table"]["dev_file"] == "gs://bucket/dev.csv"
    assert task["table"]["test_file"] == task["data_dir"] == ""
