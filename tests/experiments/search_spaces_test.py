"""The spaces of the recipes are valid, and within the paper's."""

import pathlib

import pytest

from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import multiple_choice_config
from mobilebert_tf.experiments import question_answering_config
from mobilebert_tf.experiments import search_config
from mobilebert_tf.experiments import tagging_config
from mobilebert_tf.fine_tuning import search_trials

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
_DEFAULTS = {
    "glue": classification_config.classification,
    "multiple_choice": multiple_choice_config.multiple_choice,
    "squad": question_answering_config.question_answering,
    "tagging": tagging_config.tagging,
}
# Recipes of this project's own networks; the paper has no space for those.
_OWN = ("books", "demo")
_RECIPES = [
    f"{kind}/{path.name.removesuffix('.yaml')}"
    for kind in _DEFAULTS
    for path in sorted((_CONFIGS / kind).glob("*.yaml"))
    if not path.name.startswith(_OWN)
]


def _build(recipe):
    defaults = _DEFAULTS[recipe.partition("/")[0]]()
    path = str(_CONFIGS / f"{recipe}.yaml")
    return experiment_builder.build(defaults, [path], "", {})


@pytest.mark.parametrize("recipe", _RECIPES)
def test_the_space(recipe):
    params = _build(recipe)
    space = search_config.checked(params.search)
    assert space.global_batch_sizes == [16, 32, 48]
    assert (min(space.learning_rates), max(space.learning_rates)) == (
        1e-5,
        1e-4,
    )
    assert (min(space.num_train_epochs), max(space.num_train_epochs)) == (2, 10)
    assert len(space.seeds) == 3
    trials = search_trials.trials(params, space)
    assert len({trial.name for trial in trials}) == 3 * 4 * 3 * 3


@pytest.mark.parametrize("recipe", _RECIPES)
def test_the_recipes_rate_and_batch_are_tried(recipe):
    params = _build(recipe)
    rate = params.trainer.optimizer_config.learning_rate.polynomial
    assert rate.initial_learning_rate in params.search.learning_rates
    batch = params.task.train_data.global_batch_size
    assert batch in params.search.global_batch_sizes


def test_every_kind_has_a_recipe():
    assert {recipe.partition("/")[0] for recipe in _RECIPES} == set(_DEFAULTS)
