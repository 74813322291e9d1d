"""Teachers and starts from every checkpoint format."""

import dataclasses
import os
import re
import shutil

import numpy as np
import pytest
import small_networks

from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.training import pretrained
from tests.checkpoints import networks

_STUDENT = networks.SHALLOW
_TEACHER = dataclasses.replace(networks.CONFIGS["teacher"], num_hidden_layers=1)
_OUTPUTS = ("masked_lm_logits", "next_sentence_logits")


def _write(folder, config, target_format, head="pretraining", **kwargs):
    """Returns the folder of a checkpoint, and the model in it."""
    checkpoint = networks.make_checkpoint(config, head, **kwargs)
    path = str(folder / target_format)
    conversion.write(checkpoint, path, target_format)
    return path, conversion.build_model(checkpoint)


def _task(vocab_file="", lower_case=True, **fields):
    task = pretraining_config.PretrainingTaskConfig(**fields)
    task.model.vocab_file = vocab_file
    task.model.lower_case = lower_case
    return task


def _read_teacher(path, config_file=""):
    return pretrained.read_teacher(
        _task(teacher_dir=path, teacher_config_file=config_file)
    )


def _assert_same_outputs(model, expected, names=_OUTPUTS):
    inputs = small_networks.make_inputs(expected.config)
    inputs["masked_lm_positions"] = np.array([[1, 4]] * 4, np.int32)
    outputs, expected = model(inputs, training=True), expected(inputs)
    for name in names:
        np.testing.assert_array_equal(outputs[name], expected[name], name)


@pytest.mark.parametrize(
    "target_format, config",
    [
        ("mobilebert_tf", _TEACHER),
        ("tf1", _TEACHER),
        ("garden", _TEACHER),
        ("huggingface", _STUDENT),  # which has no place for the teacher
    ],
)
def test_a_teacher_of_any_format_has_the_same_outputs(
    target_format, config, tmp_path
):
    # The config has dropout; a teacher has none, in training mode neither.
    config = dataclasses.replace(
        config, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5
    )
    path, model = _write(tmp_path, config, target_format)
    checkpoint = _read_teacher(path)
    assert checkpoint.vocabulary == networks.VOCABULARY
    _assert_same_outputs(pretrained.build_model(checkpoint), model)


def test_a_missing_next_sentence_head_is_drawn(tmp_path, caplog):
    path, model = _write(tmp_path, _TEACHER, "tf1", "masked_lm")
    with caplog.at_level("WARNING", "absl"):
        checkpoint = _read_teacher(path)
    assert f"--teacher_dir={path} has no" in caplog.text
    assert "cls/seq_relationship: drawn at random" in caplog.text
    again = _read_teacher(path)
    networks.assert_same_values(again.values, checkpoint.values)
    teacher = pretrained.build_model(checkpoint)
    _assert_same_outputs(teacher, model, ["masked_lm_logits"])
    assert np.any(teacher.next_sentence.get_weights()[0])


def test_a_missing_masked_lm_head_is_an_error(tmp_path):
    path, _ = _write(tmp_path, _STUDENT, "mobilebert_tf", "encoder")
    with pytest.raises(ValueError, match="got no cls/predictions/"):
        _read_teacher(path)


@pytest.fixture(name="distilled")
def _distilled(tmp_path):
    """A checkpoint of the official distillation: teacher and student."""
    student = networks.make_checkpoint(_STUDENT, "pretraining")
    teacher = networks.make_checkpoint(_TEACHER, "pretraining", seed=1)
    named = {f"teacher/{name}": v for name, v in teacher.values.items()}
    path = networks.save_tf1(tmp_path / "a", {**student.values, **named})
    config_file = str(tmp_path / "teacher.json")
    _TEACHER.to_json_file(config_file)
    return path, config_file, student, teacher


def test_official_distillation_holds_both(distilled):
    path, config_file, student, teacher = distilled
    assert pretrained.holds_teacher(path)
    read = _read_teacher(path, config_file)
    assert read.config == _TEACHER
    networks.assert_same_values(read.values, teacher.values)
    # As the official script has it: one checkpoint, given once.
    task = _task(teacher_dir=path, init_checkpoint=path)
    networks.assert_same_values(
        pretrained.read_initial(task).values, student.values
    )


def test_other_checkpoints_hold_no_teacher(tmp_path):
    for name in ("mobilebert_tf", "tf1", "huggingface"):
        path, _ = _write(tmp_path, _STUDENT, name)
        assert not pretrained.holds_teacher(path)
    assert not pretrained.holds_teacher(str(tmp_path / "absent"))


def test_the_teachers_checkpoint_is_no_start(tmp_path):
    path, _ = _write(tmp_path, _TEACHER, "tf1")
    task = _task(teacher_dir=path, init_checkpoint=path)
    assert pretrained.read_initial(task) is None
    assert pretrained.read_initial(_task()) is None
    assert pretrained.read_teacher(_task()) is None


def test_another_network_is_no_start(tmp_path):
    path, _ = _write(tmp_path, _STUDENT, "tf1")
    checkpoint = pretrained.read_initial(_task(init_checkpoint=path))
    other = dataclasses.replace(_STUDENT, intermediate_size=99)
    with pytest.raises(
        ValueError, match="holds another network: intermediate_size is 20.*99"
    ):
        pretrained.check_initial(checkpoint, other, path)
    other = dataclasses.replace(_STUDENT, attention_probs_dropout_prob=0.0)
    pretrained.check_initial(checkpoint, other, path)


def test_messages_speak_of_the_flags_of_training(tmp_path):
    path, _ = _write(tmp_path, _TEACHER, "tf1")
    os.remove(os.path.join(path, "bert_config.json"))
    with pytest.raises(
        ValueError,
        match=f"--teacher_dir={path}: no .* give --bert_teacher_config_file$",
    ):
        _read_teacher(path)
    with pytest.raises(ValueError, match="^--teacher_dir=/nope: no checkpoint"):
        _read_teacher("/nope")


def test_a_given_config_must_agree_with_a_described_folder(tmp_path):
    path, _ = _write(tmp_path, _TEACHER, "mobilebert_tf")
    config_file = str(tmp_path / "teacher.json")
    dataclasses.replace(_TEACHER, hidden_dropout_prob=0.3).to_json_file(
        config_file
    )
    _read_teacher(path, config_file)
    dataclasses.replace(_TEACHER, hidden_act="relu").to_json_file(config_file)
    message = (
        f"--bert_teacher_config_file={config_file}: hidden_act is relu, but "
        f"gelu in --teacher_dir={path}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        _read_teacher(path, config_file)


def _follow(path, model_dir, **fields):
    task = _task(teacher_dir=path, **fields)
    teacher = pretrained.read_teacher(task)
    pretrained.follow_vocabulary(task, teacher, None, str(model_dir))
    return task.model


def test_the_run_follows_the_teachers_vocabulary(tmp_path):
    path, _ = _write(tmp_path, _STUDENT, "tf1")
    run, own = tmp_path / "run", os.path.join(path, "vocab.txt")
    model = _follow(path, run, lower_case=False)
    assert (model.vocab_file, model.lower_case) == (own, False)

    other = tmp_path / "vocab.txt"
    shutil.copy(own, other)
    model = _follow(path, run, vocab_file=str(other))
    assert (model.vocab_file, model.lower_case) == (str(other), True)
    other.write_bytes(networks.VOCABULARY.replace(b"hello", b"hallo"))
    with pytest.raises(ValueError, match="vocab.txt differs from the vocab"):
        _follow(path, run, vocab_file=str(other))
    assert not run.exists()


def test_our_folder_says_how_its_vocabulary_is_cased(tmp_path):
    path, _ = _write(tmp_path, _STUDENT, "mobilebert_tf")
    assert _follow(path, tmp_path / "run", lower_case=False).lower_case


def test_teacher_and_start_share_a_vocabulary(tmp_path):
    path, _ = _write(tmp_path, _STUDENT, "tf1")
    task = _task(teacher_dir=path, init_checkpoint=f"{path}/")
    checkpoint = pretrained.read_teacher(task)
    other = dataclasses.replace(
        checkpoint,
        vocabulary=checkpoint.vocabulary.replace(b"hello", b"hallo"),
    )
    with pytest.raises(ValueError, match=f"vocabulary of --teacher_dir={path}"):
        pretrained.follow_vocabulary(task, other, checkpoint, str(tmp_path))


def test_a_vocabulary_without_a_file_goes_to_the_run(tmp_path):
    folder, _ = _write(tmp_path, _STUDENT, "tf1")
    path = networks.pack(folder, tmp_path / "a.tar.gz")
    run = tmp_path / "run"
    for _ in range(2):  # the second is a run that goes on
        assert _follow(path, run).vocab_file == str(run / "vocab.txt")
        assert (run / "vocab.txt").read_bytes() == networks.VOCABULARY
    (run / "vocab.txt").write_text("another\n")
    with pytest.raises(ValueError, match="choose another --model_dir"):
        _follow(path, run)


def test_a_vocabulary_beside_the_configuration(tmp_path):
    path, _ = _write(tmp_path, _STUDENT, "tf1", vocabulary=None)
    config_file = tmp_path / "configs" / "bert_config.json"
    config_file.parent.mkdir()
    (config_file.parent / "vocab.txt").write_bytes(networks.VOCABULARY)
    task = _task(teacher_dir=path, teacher_config_file=str(config_file))
    teacher = pretrained.read_teacher(_task(teacher_dir=path))
    pretrained.follow_vocabulary(task, teacher, None, str(tmp_path / "run"))
    assert task.model.vocab_file == str(config_file.parent / "vocab.txt")


def test_line_ends_do_not_make_another_vocabulary(tmp_path):
    path, _ = _write(tmp_path, _STUDENT, "tf1")
    other = tmp_path / "vocab.txt"
    other.write_bytes(networks.VOCABULARY.strip().replace(b"\n", b"\r\n"))
    model = _follow(path, tmp_path / "run", vocab_file=str(other))
    assert model.vocab_file == str(other)


def test_an_unknown_vocabulary_must_be_given(tmp_path):
    path, _ = _write(tmp_path, _STUDENT, "tf1", vocabulary=None)
    with pytest.raises(ValueError, match="--vocab_file is required"):
        _follow(path, tmp_path)
    vocab_file = tmp_path / "vocab.txt"
    vocab_file.write_bytes(networks.VOCABULARY)
    model = _follow(path, tmp_path, vocab_file=str(vocab_file))
    assert model.vocab_file == str(vocab_file)
