"""Tests for benchmarks/transfer_strategies.py."""

import pathlib

import pytest

from benchmarks import transfer_strategies
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import pretraining_config

_ROOT = pathlib.Path(__file__).parents[2]
_PATHS = {
    "teacher_dir": "/teacher",
    "vocab_file": "/vocab.txt",
    "input_file": "/train*",
    "eval_input_file": "/eval",
    "sst2_dir": "/sst2",
    "output_dir": "/out",
}


def _value(command, flag):
    return next(
        part.partition("=")[2]
        for part in command
        if part.startswith(f"--{flag}=")
    )


def _config(command):
    return str(_ROOT / _value(command, "config_file"))


@pytest.mark.parametrize("arm", transfer_strategies.ARMS)
def test_arms_are_valid_experiments(arm):
    pretraining, fine_tuning = transfer_strategies.commands(
        arm, 7, _PATHS, "/out/run"
    )
    params = experiment_builder.build(
        pretraining_config.pretraining(),
        [_config(pretraining)],
        _value(pretraining, "params_override"),
        {},
    )
    assert params.task.seed == params.task.train_data.seed == 7
    has_teacher = any(part.startswith("--teacher_dir") for part in pretraining)
    assert has_teacher == (arm != "bare")
    params = experiment_builder.build(
        classification_config.classification(),
        [_config(fine_tuning)],
        _value(fine_tuning, "params_override"),
        {},
    )
    assert params.task.seed == 7


def test_every_arm_takes_the_steps_of_the_paper_in_proportion():
    total = {}
    for arm in transfer_strategies.ARMS:
        command, _ = transfer_strategies.commands(arm, 1, _PATHS, "/out/run")
        params = experiment_builder.build(
            pretraining_config.pretraining(),
            [_config(command)],
            _value(command, "params_override"),
            {},
        )
        transfer = params.task.knowledge_transfer
        total[arm] = params.trainer.train_steps + (
            transfer.num_steps
            if transfer.strategy in ("progressive", "joint")
            else 0
        )
    assert total["bare"] == total["+PD"] == 400
    assert total["+PD+FMT"] == total["+PD+FMT+AT (PKT)"] == 600
    assert total["JKT"] == total["AKT"] == 600


def test_table_has_mean_deviation_and_range():
    runs = [
        {"arm": "bare", "masked_lm_accuracy": 0.1, "accuracy": 0.70},
        {"arm": "bare", "masked_lm_accuracy": 0.3, "accuracy": 0.80},
    ]
    header, row = transfer_strategies.table(runs)
    assert header == ("arm", "seeds", "masked-LM accuracy", "SST-2 accuracy")
    assert row == (
        "bare",
        "2",
        "0.2000 ± 0.1414 (0.1000 to 0.3000)",
        "0.7500 ± 0.0707 (0.7000 to 0.8000)",
    )
