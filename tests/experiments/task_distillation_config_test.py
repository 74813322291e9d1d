"""The recipe of task distillation, and its flags, fit every kind of task."""

import pathlib

import pytest
from absl import flags

from mobilebert_tf.distillation import task_distillation
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import experiment_flags
from mobilebert_tf.experiments import multiple_choice_config
from mobilebert_tf.experiments import question_answering_config
from mobilebert_tf.experiments import tagging_config
from mobilebert_tf.fine_tuning import fine_tuning_flags
from mobilebert_tf.fine_tuning import squad_flags

_RECIPE = pathlib.Path(__file__).parents[2] / (
    "configs/task_distillation/logits.yaml"
)
_DEFAULTS = {
    "classification": classification_config.classification,
    "tagging": tagging_config.tagging,
    "multiple_choice": multiple_choice_config.multiple_choice,
    "question_answering": question_answering_config.question_answering,
}


@pytest.mark.parametrize("kind", _DEFAULTS)
def test_the_recipe(kind):
    params = experiment_builder.build(
        _DEFAULTS[kind](),
        [str(_RECIPE)],
        "",
        {"task.distillation.teacher_dir": "teacher"},
    )
    assert params.task.distillation.temperature == 2.0
    task_distillation.check(params.task.distillation)


@pytest.mark.parametrize("table", [fine_tuning_flags.COMMON, squad_flags.TABLE])
def test_the_flags(table):
    flag_values = flags.FlagValues()
    experiment_flags.define_common(flag_values)
    experiment_flags.define_overrides(table, flag_values)
    flag_values(
        [
            "binary",
            "--model_dir=run",
            "--teacher_dir=teacher",
            "--distill_temperature=2",
            "--distill_ground_truth_ratio=0.1",
            "--hidden_distill_factor=0.2",
            "--attention_distill_factor=0.3",
        ]
    )
    params = experiment_flags.build_experiment(
        question_answering_config.question_answering(), table, flag_values
    )
    assert params.task.distillation.as_dict() == {
        "teacher_dir": "teacher",
        "temperature": 2.0,
        "ground_truth_ratio": 0.1,
        "feature_map_factor": 0.2,
        "attention_factor": 0.3,
        "layer_mapping": "one_to_one",
        "teacher_layers": [],
    }
