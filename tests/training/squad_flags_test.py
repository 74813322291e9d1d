"""The official flags of run_squad, and what they stand for."""

import pathlib

import pytest
from absl import flags

from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import question_answering_config
from mobilebert_tf.fine_tuning import squad_flags

_CONFIGS = pathlib.Path(__file__).parents[2] / "configs" / "squad"

# google-research/mobilebert, run_squad.py: names and defaults.
_NO_VALUE = """
hub_module_url data_dir train_file predict_file init_checkpoint lite_model_path
tpu_name tpu_zone gcp_project master export_dir vocab_file bert_config_file
output_dir
""".split()
_DEFAULTS = {
    "do_lower_case": True,
    "max_seq_length": 384,
    "doc_stride": 128,
    "max_query_length": 64,
    "train_batch_size": 32,
    "learning_rate": 5e-5,
    "num_train_epochs": 3.0,
    "warmup_proportion": 0.1,
    "save_checkpoints_steps": 1000,
    "n_best_size": 20,
    "max_answer_length": 30,
    "version_2_with_negative": False,
    "null_score_diff_threshold": 0.0,
}
# These have others here, which change no result.
_OTHERS = """
do_train do_predict use_quantized_training use_post_quantization
activation_quantization predict_batch_size iterations_per_loop use_tpu
num_tpu_cores verbose_logging
""".split()


def _parse(*arguments):
    values = flags.FlagValues()
    squad_flags.define(values)
    values(["run_squad", *arguments])
    return values


def _build(*arguments):
    return squad_flags.build(_parse("--output_dir=run", *arguments))


def _get(params, key):
    for part in key.split("."):
        params = getattr(params, part)
    return params


def test_every_official_flag_is_there():
    known = set(_parse())
    assert {*_NO_VALUE, *_DEFAULTS, *_OTHERS} <= known


@pytest.mark.parametrize("name", sorted(_DEFAULTS))
def test_defaults_are_the_official_ones(name):
    params = _build()
    keys = squad_flags.TABLE[name].key.split()
    assert {_get(params, key) for key in keys} == {_DEFAULTS[name]}


def test_a_flag_sets_its_field():
    params = _build(
        "--train_file=train.json",
        "--predict_file=dev.json",
        "--predict_batch_size=7",
        "--version_2_with_negative",
        "--null_score_diff_threshold=-1.5",
        "--learning_rate=4e-5",
    )
    task = params.task
    assert task.train_data.input_path == "train.json"
    assert task.validation_data.input_path == "dev.json"
    assert task.validation_data.global_batch_size == 7
    assert task.version_2_with_negative
    assert task.decoding.null_score_diff_threshold == -1.5
    rate = params.trainer.optimizer_config.learning_rate.polynomial
    assert rate.initial_learning_rate == 4e-5
    assert rate.end_learning_rate == pytest.approx(4e-9)


@pytest.mark.parametrize(
    "flag",
    [
        "--hub_module_url=https://hub",
        "--lite_model_path=model.tflite",
        "--export_dir=export",
        "--use_quantized_training",
        "--use_post_quantization",
        "--activation_quantization",
    ],
)
def test_what_is_not_supported_says_so(flag):
    name = flag.partition("=")[0]
    with pytest.raises(ValueError, match=f"^{name} is not supported: [^\n]+$"):
        _build(flag)


@pytest.mark.parametrize(
    "flag", ["--nouse_quantized_training", "--export_dir="]
)
def test_to_be_told_not_to_is_fine(flag):
    assert _build(flag) == _build()


@pytest.mark.parametrize("version", ["v1.1", "v2.0"])
def test_the_recipes_are_complete(version):
    params = experiment_builder.build(
        question_answering_config.question_answering(),
        [str(_CONFIGS / f"{version}.yaml")],
        "",
        {},
    )
    task = params.task
    assert task.version_2_with_negative == (version == "v2.0")
    assert (task.max_seq_length, task.doc_stride) == (384, 128)
    assert task.num_train_epochs == 5.0
    rate = params.trainer.optimizer_config.learning_rate.polynomial
    assert rate.initial_learning_rate == pytest.approx(4e-5)
    assert rate.end_learning_rate == pytest.approx(4e-9)
