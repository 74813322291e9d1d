"""--evaluate among the flags of fine-tuning."""

import json

import pytest
from absl import flags

from mobilebert_tf.experiments import multiple_choice_config
from mobilebert_tf.fine_tuning import fine_tuning_flags


def _parse(*arguments):
    values = flags.FlagValues()
    fine_tuning_flags.define(fine_tuning_flags.FOLDER, values)
    values(["program", *arguments])
    return values


def test_nothing_to_evaluate():
    values = _parse("--do_train")
    fine_tuning_flags.check_evaluate(values)
    assert values["model_dir"].value is None


def test_a_given_folder_stays():
    values = _parse("--evaluate=a.tflite,b", "--model_dir=run")
    fine_tuning_flags.check_evaluate(values)
    assert values["model_dir"].value == "run"


def test_the_folder_of_a_file_stands_for_model_dir(tmp_path):
    values = _parse(f"--evaluate={tmp_path / 'model.tflite'}")
    fine_tuning_flags.check_evaluate(values)
    assert values["model_dir"].value == str(tmp_path)


def test_a_models_folder_stands_for_itself(tmp_path):
    (tmp_path / "model_info.json").write_text("{}")
    values = _parse(f"--evaluate={tmp_path}")
    fine_tuning_flags.check_evaluate(values)
    assert values["model_dir"].value == str(tmp_path)


@pytest.mark.parametrize(
    "action", ["do_train", "do_eval", "do_predict", "search"]
)
def test_nothing_else_at_once(action):
    values = _parse("--evaluate=a.tflite", f"--{action}")
    with pytest.raises(ValueError, match=f"--evaluate and --{action}"):
        fine_tuning_flags.check_evaluate(values)


def test_another_length_than_the_models_is_refused(tmp_path):
    info = {"head": "multiple_choice", "max_seq_length": 64, "labels": []}
    (tmp_path / "model_info.json").write_text(json.dumps(info))
    values = _parse(
        "--do_eval", f"--model_dir={tmp_path}", "--max_seq_length=32"
    )
    with pytest.raises(ValueError, match="=32: the model in .* has 64"):
        fine_tuning_flags.build(
            multiple_choice_config.multiple_choice(),
            "multiple_choice",
            fine_tuning_flags.FOLDER,
            flag_values=values,
        )
