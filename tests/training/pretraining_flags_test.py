"""Where each flag of run_pretraining lands."""

import operator
import pathlib
import re
import shlex

import pytest
from absl import flags

from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.training import pretraining_flags
from tests.training import official_command

_TRANSFER = "task.knowledge_transfer"
_RATE = "learning_rate.polynomial.initial_learning_rate"
_END_RATE = "learning_rate.polynomial.end_learning_rate"
_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


def _parse(*arguments):
    values = flags.FlagValues()
    pretraining_flags.define(values)
    values(["test", "--model_dir=run", *arguments])
    return values


def _build(*arguments):
    return pretraining_flags.build(_parse(*arguments))


def _get(params, key):
    return operator.attrgetter(key)(params)


@pytest.mark.parametrize(
    "flag, value, key",
    [
        ("preset", "micro", "task.model.preset"),
        ("bert_config_file", "a.json", "task.model.bert_config_file"),
        ("vocab_file", "v.txt", "task.model.vocab_file"),
        ("do_lower_case", False, "task.model.lower_case"),
        ("teacher_dir", "t", "task.teacher_dir"),
        ("init_checkpoint", "i", "task.init_checkpoint"),
        ("input_file", "a,b*", "task.train_data.input_path"),
        ("eval_input_file", "c", "task.validation_data.input_path"),
        ("max_seq_length", 96, "task.train_data.max_seq_length"),
        (
            "max_predictions_per_seq",
            9,
            "task.train_data.max_predictions_per_seq",
        ),
        (
            "max_predictions_per_seq",
            9,
            "task.first_train_data.max_predictions_per_seq",
        ),
        ("data_format", "text", "task.train_data.data_format"),
        ("data_format", "tokens", "task.first_train_data.data_format"),
        ("eval_data_format", "tokens", "task.validation_data.data_format"),
        ("masking", "span", "task.train_data.masking.strategy"),
        ("masking", "whole_word", "task.first_train_data.masking.strategy"),
        ("masked_lm_prob", 0.2, "task.train_data.masking.masked_lm_prob"),
        ("first_input_file", "d", "task.first_train_data.input_path"),
        ("first_max_seq_length", 64, "task.first_train_data.max_seq_length"),
        (
            "first_train_batch_size",
            24,
            "task.first_train_data.global_batch_size",
        ),
        ("first_num_train_steps", 5, "task.first_train_steps"),
        ("train_batch_size", 48, "task.train_data.global_batch_size"),
        ("eval_batch_size", 12, "task.validation_data.global_batch_size"),
        ("learning_rate", 2e-4, f"trainer.optimizer_config.{_RATE}"),
        ("num_train_steps", 7, "trainer.train_steps"),
        (
            "num_warmup_steps",
            3,
            "trainer.optimizer_config.warmup.linear.warmup_steps",
        ),
        ("save_checkpoints_steps", 11, "trainer.checkpoint_interval"),
        ("iterations_per_loop", 13, "trainer.steps_per_loop"),
        ("max_eval_steps", 17, "trainer.validation_steps"),
        ("optimizer", "adamw", "trainer.optimizer_config.optimizer.type"),
        ("optimizer", "adamw", f"{_TRANSFER}.optimizer_config.optimizer.type"),
        ("num_distill_steps", 19, f"{_TRANSFER}.num_steps"),
        ("distill_temperature", 2.5, "task.distillation.temperature"),
        (
            "distill_ground_truth_ratio",
            0.25,
            "task.distillation.ground_truth_ratio",
        ),
        ("attention_distill_factor", 0.5, f"{_TRANSFER}.attention_factor"),
        ("hidden_distill_factor", 7.0, f"{_TRANSFER}.feature_map_factor"),
        ("beta_distill_factor", 11.0, f"{_TRANSFER}.mean_factor"),
        ("gamma_distill_factor", 13.0, f"{_TRANSFER}.variance_factor"),
    ],
)
def test_each_flag_lands_in_its_field(flag, value, key):
    assert _get(pretraining_config.pretraining(), key) != value
    assert _get(_build(f"--{flag}={value}"), key) == value


@pytest.mark.parametrize("optimizer", ["lamb", "adamw"])
def test_weight_decay_reaches_every_optimizer(optimizer):
    params = _build("--weight_decay_rate=0.125", f"--optimizer={optimizer}")
    for config in (
        params.trainer.optimizer_config,
        params.task.knowledge_transfer.optimizer_config,
    ):
        chosen = config.optimizer.get()
        assert chosen.weight_decay_rate == 0.125
        assert chosen.exclude_from_weight_decay == ["LayerNorm", "bias"]


def test_another_optimizer_keeps_our_defaults():
    fields = _build("--optimizer=adamw").trainer.optimizer_config.optimizer
    assert fields.get().weight_decay_rate == 0.01
    assert fields.get().epsilon == 1e-6


def test_the_rate_falls_to_its_ten_thousandth(tmp_path):
    end = f"trainer.optimizer_config.{_END_RATE}"
    assert _get(_build("--learning_rate=0.02"), end) == pytest.approx(2e-6)
    path = tmp_path / "a.yaml"
    path.write_text(
        "trainer: {optimizer_config: {learning_rate: "
        "{polynomial: {end_learning_rate: 0.0}}}}\n"
    )
    params = _build("--learning_rate=0.02", f"--config_file={path}")
    assert _get(params, end) == 0.0


def test_layer_wise_warmup_is_the_official_transfer():
    params = _build(
        "--layer_wise_warmup", "--teacher_dir=t", "--learning_rate=0.002"
    )
    transfer = params.task.knowledge_transfer
    for name, value in pretraining_flags.OFFICIAL_TRANSFER.items():
        assert getattr(transfer, name) == value, name
    # Constant over a phase but for its schedule, as the main rate.
    assert _get(transfer.optimizer_config, _RATE) == 0.002
    assert _get(transfer.optimizer_config, _END_RATE) == 0.002


def test_explicit_fields_win_over_layer_wise_warmup(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "task: {knowledge_transfer: {feature_map_loss: mse, "
        "lower_blocks_rate: 0.0, strategy: joint}}\n"
    )
    transfer = _build(
        "--layer_wise_warmup",
        f"--config_file={path}",
        f"--params_override={_TRANSFER}.active_block_rate=1.0",
        "--hidden_distill_factor=2",
    ).task.knowledge_transfer
    assert transfer.feature_map_loss == "mse"
    assert transfer.lower_blocks_rate == 0.0
    assert transfer.strategy == "joint"
    assert transfer.active_block_rate == 1.0
    assert transfer.feature_map_factor == 2.0
    assert transfer.mean_factor == 5000.0


@pytest.mark.parametrize(
    "arguments, strategy",
    [
        (["--teacher_dir=t"], ""),
        (["--teacher_dir=t", "--nolayer_wise_warmup"], "none"),
        (["--teacher_dir=t", "--layer_wise_warmup"], "progressive"),
        (
            ["--bert_teacher_config_file=t.json", "--init_checkpoint=t"],
            "none",
        ),
        ([], ""),
    ],
)
def test_strategy(arguments, strategy):
    assert _build(*arguments).task.knowledge_transfer.strategy == strategy


def test_with_a_teacher_config_the_checkpoint_is_the_teachers():
    config = "--bert_teacher_config_file=t.json"
    task = _build(config, "--init_checkpoint=t.ckpt").task
    assert task.teacher_dir == "t.ckpt"
    assert task.teacher_config_file == "t.json"
    task = _build(config, "--init_checkpoint=s", "--teacher_dir=t").task
    assert (task.teacher_dir, task.init_checkpoint) == ("t", "s")
    with pytest.raises(ValueError, match="give its checkpoint"):
        _build(config)


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ([], (True, False)),
        (["--eval_input_file=e"], (True, True)),
        (["--do_train"], (True, False)),
        (["--do_train", "--eval_input_file=e"], (True, False)),
        (["--do_train", "--do_eval"], (True, True)),
        (["--do_eval"], (False, True)),
    ],
)
def test_what_is_done(arguments, expected):
    values = _parse("--input_file=t", *arguments)
    params = pretraining_flags.build(values)
    assert pretraining_flags.modes(params, values) == expected


def test_nothing_to_do():
    values = _parse("--do_train=false", "--do_eval=false")
    with pytest.raises(ValueError, match="nothing to do: expected --do_train"):
        pretraining_flags.modes(pretraining_flags.build(values), values)


def test_first_steps_are_among_all_steps():
    params = _build("--num_train_steps=500", "--first_num_train_steps=450")
    assert (params.task.first_train_steps, params.trainer.train_steps) == (
        450,
        50,
    )
    with pytest.raises(ValueError, match="450: expected at most --num_train"):
        _build("--num_train_steps=5", "--first_num_train_steps=450")


def test_the_first_batch_is_the_other_unless_given():
    data = _build("--train_batch_size=64").task.first_train_data
    assert data.global_batch_size == 64
    data = _build("--train_batch_size=64", "--first_train_batch_size=128")
    assert data.task.first_train_data.global_batch_size == 128


def test_evaluation_without_its_own_data_is_on_the_training_data():
    params = _build("--input_file=t", "--do_eval")
    assert params.task.validation_data.input_path == "t"
    assert params.trainer.validation_steps == 100
    params = _build("--input_file=t", "--do_eval", "--max_eval_steps=3")
    assert params.trainer.validation_steps == 3
    params = _build("--input_file=t", "--do_eval", "--eval_input_file=e")
    assert params.task.validation_data.input_path == "e"
    assert params.trainer.validation_steps == -1


def test_evaluation_on_the_training_files_reads_them_alike():
    params = _build(
        "--input_file=t",
        "--do_eval",
        "--data_format=text",
        "--masking=span",
        "--params_override=task.train_data.text.input_format=book",
    )
    data = params.task.validation_data
    assert (data.data_format, data.masking.strategy) == ("text", "span")
    assert data.text.input_format == "book"


@pytest.mark.parametrize(
    "arguments, strategy, tpu",
    [
        (["--use_tpu", "--tpu_name=node-1"], "tpu", "node-1"),
        (["--use_tpu", "--master=grpc://1.2.3.4:8470"], "tpu", "grpc://1.2."),
        (["--use_tpu"], "tpu", "local"),
        (["--use_tpu=false", "--tpu_name=node-1"], "one_device", None),
    ],
)
def test_tpu_flags(arguments, strategy, tpu):
    runtime = _build(*arguments).runtime
    assert runtime.distribution_strategy == strategy
    assert (runtime.tpu or "").startswith(tpu or "")
    assert bool(runtime.tpu) == bool(tpu)


def test_flags_without_effect_are_accepted(caplog):
    arguments = (
        "--tpu_zone=z",
        "--gcp_project=p",
        "--num_tpu_cores=256",
        "--use_einsum",
        "--use_summary=true",
    )
    with caplog.at_level("INFO", "absl"):
        params = _build(*arguments)
    assert params.as_dict() == _build().as_dict()
    for argument in arguments:
        name = re.match("--(.*?)(=|$)", argument)[1]
        assert f"--{name} has no effect" in caplog.text


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--hiden_distill_factor=1", "Did you mean:.*hidden_distill_factor"),
        ("--optimizer=sgd", "should be one of <adamw|lamb>"),
        ("--mode=train", "Unknown command line flag 'mode'"),
    ],
)
def test_wrong_flags(argument, message):
    with pytest.raises(flags.Error, match=message):
        _parse(argument)


def test_every_official_flag_of_the_reference_is_known():
    values = _parse()
    assert len(official_command.ALL_FLAGS) == 39
    for name in official_command.ALL_FLAGS:
        assert name in values, name


def test_the_official_command_is_the_official_configuration():
    """The README's flags and configs/distillation/official.yaml agree."""
    command = official_command.distillation("teacher", "student", "out")
    from_flags = _build(*command[1:])
    from_file = _build(
        f"--config_file={_CONFIGS}/distillation/official.yaml",
        "--bert_config_file=student",
        "--bert_teacher_config_file=teacher",
        "--init_checkpoint=teacher_checkpoint",
        "--input_file=records",
        "--first_input_file=records",
        "--do_train",
        "--use_tpu",
        "--tpu_name=tpu",
    )
    assert from_flags.as_dict() == from_file.as_dict()
    assert from_flags.trainer.train_steps == 500_000


def _documented_commands():
    """Returns the arguments of each run_pretraining command in the docs."""
    text = (_CONFIGS.parent / "docs" / "knowledge_transfer.md").read_text()
    blocks = re.findall(r"(?m)((?:^    .*\n)+)", text)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    start = ["python", "-m", "mobilebert_tf.run_pretraining"]
    split = [shlex.split(line) for line in lines if "run_pretraining" in line]
    assert all(words[:3] == start for words in split)
    return [words[3:] for words in split]


def test_the_documented_commands_are_understood(monkeypatch):
    monkeypatch.chdir(_CONFIGS.parent)
    commands = _documented_commands()
    assert len(commands) == 4
    for command in commands:
        _build(*command)
    (official,) = [c for c in commands if "--layer_wise_warmup" in c]
    expected = _build(*official_command.distillation("t", "s", "out")[1:])
    actual = _build(*official)
    for part in ("knowledge_transfer", "distillation"):
        assert getattr(actual.task, part).as_dict() == (
            getattr(expected.task, part).as_dict()
        )
    assert (
        actual.trainer.optimizer_config.as_dict()
        == expected.trainer.optimizer_config.as_dict()
    )
    assert actual.trainer.train_steps == expected.trainer.train_steps
