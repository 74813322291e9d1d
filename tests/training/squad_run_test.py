"""Fine-tuning, evaluation and prediction on toy questions."""

import glob
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf import classification
from mobilebert_tf import experiment_builder
from mobilebert_tf import model_directory
from mobilebert_tf import question_answering
from mobilebert_tf import question_answering_config
from mobilebert_tf import training
from mobilebert_tf import training_log
from mobilebert_tf.checkpoints import conversion
from tests.training import processes

_ROOT = str(pathlib.Path(__file__).parents[2])
_LENGTHS = {
    "task.max_seq_length": 24,
    "task.doc_stride": 8,
    "task.max_query_length": 4,
}
_RATE = (
    "trainer.optimizer_config.learning_rate.polynomial.initial_learning_rate"
)


def _questions(words, count, share_without_answer, seed):
    """SQuAD's JSON; the answer is the only word of the vocabulary's end."""
    rng = random.Random(seed)
    others, answers = words[: len(words) // 2], words[len(words) // 2 :]
    paragraphs = []
    for number in range(count):
        context = rng.choices(others, k=rng.randint(5, 30))
        question = {
            "id": f"q{number}",
            "question": rng.choice(others),
            "answers": [],
            "is_impossible": rng.random() < share_without_answer,
        }
        if not question["is_impossible"]:
            place, answer = rng.randrange(len(context)), rng.choice(answers)
            context.insert(place, answer)
            start = len(" ".join([*context[:place], ""]))
            question["answers"] = [{"text": answer, "answer_start": start}]
        if not share_without_answer:
            del question["is_impossible"]
        paragraphs.append({"context": " ".join(context), "qas": [question]})
    return {"version": "", "data": [{"title": "", "paragraphs": paragraphs}]}


@pytest.fixture(scope="module", name="data")
def _data(workspace):
    """Paths by name: of v1.1 and v2.0, to train and to evaluate on."""
    folder = workspace.folder / "squad"
    folder.mkdir()
    paths = {}
    for version, share in (("v1.1", 0.0), ("v2.0", 0.4)):
        for split, count, seed in (("train", 160, 1), ("dev", 40, 2)):
            name = f"{split}-{version}"
            content = _questions(workspace.words, count, share, seed)
            path = folder / f"{name}.json"
            path.write_text(json.dumps(content))
            paths[name] = str(path)
    return paths


def _params(data, version, **overrides):
    return experiment_builder.build(
        question_answering_config.question_answering(),
        [],
        "",
        {
            **_LENGTHS,
            "task.version_2_with_negative": version == "v2.0",
            "task.train_data.input_path": data[f"train-{version}"],
            "task.validation_data.input_path": data[f"dev-{version}"],
            "task.train_data.global_batch_size": 16,
            "task.num_train_epochs": 8.0,
            "trainer.steps_per_loop": 20,
            _RATE: 0.01,
            **overrides,
        },
    )


def _json(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def _answers(path):
    """Returns {question id: its answer, "" for none}."""
    return {
        question["id"]: "".join(a["text"] for a in question["answers"])
        for paragraph in _json(path)["data"][0]["paragraphs"]
        for question in paragraph["qas"]
    }


def _percent_exact(predictions, answers):
    assert predictions.keys() == answers.keys()
    return 100 * np.mean([predictions[i] == answers[i] for i in answers])


def _start(command):
    return subprocess.run(
        [sys.executable, "-m", "mobilebert_tf.run_squad", *command],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": _ROOT},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module", name="official_run")
def _official_run(workspace, teacher_dir, data):
    """(model_dir, standard output) of the official README's command."""
    checkpoint = str(workspace.folder / "squad" / "tf1")
    conversion.convert(teacher_dir, checkpoint, "mobilebert_tf", "tf1")
    model_dir = str(workspace.folder / "squad" / "official")
    result = _start(
        [
            f"--bert_config_file={workspace.teacher}",
            f"--data_dir={workspace.folder / 'squad' / 'cache'}",
            "--do_lower_case",
            "--do_predict",
            "--do_train",
            "--doc_stride=8",
            f"--init_checkpoint={checkpoint}",
            "--learning_rate=0.01",
            "--max_answer_length=30",
            "--max_query_length=4",
            "--max_seq_length=24",
            "--n_best_size=20",
            "--num_train_epochs=8",
            f"--output_dir={model_dir}",
            f"--predict_file={data['dev-v1.1']}",
            f"--train_file={data['train-v1.1']}",
            "--train_batch_size=16",
            f"--vocab_file={workspace.vocab_file}",
            "--warmup_proportion=0.1",
        ]
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return model_dir, result.stdout


def test_the_official_command_learns(official_run, data):
    model_dir, _ = official_run
    predictions = _json(f"{model_dir}/predictions.json")
    answers = _answers(data["dev-v1.1"])
    assert _percent_exact(predictions, answers) > 80


def test_its_scores_are_printed_and_logged(official_run, data):
    model_dir, printed = official_run
    exact = _percent_exact(
        _json(f"{model_dir}/predictions.json"), _answers(data["dev-v1.1"])
    )
    scores = json.loads(printed)
    assert scores["exact_match"] == pytest.approx(exact)
    report = _json(f"{model_dir}/evaluation_predictions.json")
    assert report == {"step": 80, "metrics": scores}
    row = training_log.read_metrics(model_dir)[-1]
    assert row["kind"] == "validation"
    assert row["exact_match"] == scores["exact_match"]


def test_steps_follow_from_questions_not_windows(official_run):
    assert training.saved_step(official_run[0]) == 160 // 16 * 8


def test_n_best_begins_with_the_prediction(official_run):
    model_dir, _ = official_run
    n_best = _json(f"{model_dir}/nbest_predictions.json")
    predictions = _json(f"{model_dir}/predictions.json")
    assert {i: best[0]["text"] for i, best in n_best.items()} == predictions
    for candidates in n_best.values():
        total = sum(candidate["probability"] for candidate in candidates)
        assert total == pytest.approx(1.0)
    assert not os.path.exists(f"{model_dir}/null_odds.json")


def test_prediction_alone_repeats_the_recorded_run(official_run, tmp_path):
    """Lengths and files come from the folder; the windows from the cache."""
    model_dir = str(tmp_path / "run")
    shutil.copytree(official_run[0], model_dir)
    before = _json(f"{model_dir}/predictions.json")
    os.remove(f"{model_dir}/predictions.json")
    params = experiment_builder.with_recorded_task(
        question_answering_config.question_answering(), model_dir
    )
    caches = sorted(glob.glob(f"{params.task.data_dir}/*"))
    assert len(caches) == 2
    times = [os.stat(path).st_mtime_ns for path in caches]
    question_answering.run(params, model_dir, False, do_predict=True)
    assert _json(f"{model_dir}/predictions.json") == before
    assert [os.stat(path).st_mtime_ns for path in caches] == times


@pytest.fixture(scope="module", name="v2_run")
def _v2_run(workspace, teacher_dir, data):
    """(model_dir, scores) of a run on v2.0 with evaluations."""
    model_dir = str(workspace.folder / "squad" / "v2")
    params = _params(
        data,
        "v2.0",
        **{
            "task.init_checkpoint": teacher_dir,
            "trainer.validation_interval": 40,
        },
    )
    scores = question_answering.run(params, model_dir, True, True, True)
    return model_dir, scores


def test_unanswerable_questions_are_learned(v2_run, data):
    model_dir, scores = v2_run
    predictions = _json(f"{model_dir}/predictions.json")
    exact = _percent_exact(predictions, _answers(data["dev-v2.0"]))
    assert scores["exact"] == pytest.approx(exact)
    assert scores["HasAns_exact"] > 60
    assert scores["NoAns_exact"] > 60
    null_odds = _json(f"{model_dir}/null_odds.json")
    assert {i: odds > 0 for i, odds in null_odds.items()} == {
        i: not text for i, text in predictions.items()
    }


def test_the_best_model_of_the_run_predicts(v2_run):
    model_dir, scores = v2_run
    rows = [
        row
        for row in training_log.read_metrics(model_dir)
        if row["kind"] == "validation"
    ]
    assert [row["step"] for row in rows] == [40, 80]
    assert scores["f1"] == pytest.approx(max(row["f1"] for row in rows))
    best = _json(f"{model_dir}/best/evaluation_dev.json")
    assert best["metrics"] == pytest.approx(scores)
    model_directory.load(f"{model_dir}/best")


def test_evaluation_alone_gives_the_same_scores(v2_run, data):
    model_dir, scores = v2_run
    params = _params(data, "v2.0")
    again = question_answering.run(params, model_dir, False, True)
    assert again == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("metric", ["exact", "f1"])
def test_the_tuned_threshold_gives_the_best_score(v2_run, data, metric):
    model_dir, scores = v2_run
    params = _params(
        data, "v2.0", **{"task.decoding.tuned_null_threshold": metric}
    )
    tuned = question_answering.run(params, model_dir, False, do_predict=True)
    assert tuned[metric] == pytest.approx(scores[f"best_{metric}"])


def test_a_threshold_below_all_odds_answers_nothing(v2_run, data):
    model_dir, scores = v2_run
    params = _params(
        data, "v2.0", **{"task.decoding.null_score_diff_threshold": -1e9}
    )
    nothing = question_answering.run(params, model_dir, False, do_predict=True)
    assert (nothing["HasAns_exact"], nothing["NoAns_exact"]) == (0.0, 100.0)
    assert nothing["best_f1"] == pytest.approx(scores["best_f1"])


def test_a_file_without_answers_is_predicted_not_scored(
    official_run, data, tmp_path
):
    content = _json(data["dev-v1.1"])
    for paragraph in content["data"][0]["paragraphs"]:
        del paragraph["qas"][0]["answers"]
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(content))
    model_dir = str(tmp_path / "run")
    shutil.copytree(official_run[0], model_dir)
    before = _json(f"{model_dir}/predictions.json")
    params = _params(
        data, "v1.1", **{"task.validation_data.input_path": str(path)}
    )
    assert not question_answering.run(params, model_dir, False, do_predict=True)
    assert _json(f"{model_dir}/predictions.json") == before


def test_a_context_without_candidate_is_no_answer(v2_run, data, tmp_path):
    """All of its text is dropped by the tokenizer: no window, no span."""
    content = _json(data["dev-v2.0"])
    content["data"][0]["paragraphs"][0]["context"] = "\u200b"
    path = tmp_path / "empty.json"
    path.write_text(json.dumps(content))
    params = _params(
        data, "v2.0", **{"task.validation_data.input_path": str(path)}
    )
    model_dir = str(tmp_path / "run")
    shutil.copytree(v2_run[0], model_dir)
    question_answering.run(params, model_dir, False, do_predict=True)
    assert _json(f"{model_dir}/predictions.json")["q0"] == ""


def test_prediction_from_a_checkpoint_elsewhere(official_run, data, tmp_path):
    """As the official script, without a model in the folder."""
    params = _params(data, "v1.1", **{"task.init_checkpoint": official_run[0]})
    model_dir = str(tmp_path / "run")
    question_answering.run(params, model_dir, False, do_predict=True)
    assert _json(f"{model_dir}/predictions.json") == _json(
        f"{official_run[0]}/predictions.json"
    )


def test_the_head_of_a_fine_tuned_model_is_where_it_starts(
    official_run, data, tmp_path
):
    params = _params(
        data,
        "v1.1",
        **{
            "task.init_checkpoint": official_run[0],
            "trainer.train_steps": 1,
            _RATE: 1e-12,
        },
    )
    model_dir = str(tmp_path / "run")
    question_answering.run(params, model_dir, True)
    for ours, start in zip(
        model_directory.load(model_dir).model.get_weights(),
        model_directory.load(official_run[0]).model.get_weights(),
        strict=True,
    ):
        np.testing.assert_allclose(ours, start, atol=1e-9)


def test_a_run_that_was_killed_goes_on_as_if_not(teacher_dir, data, tmp_path):
    """The folder of a whole run, but for what came after step 2."""
    params = _params(
        data,
        "v1.1",
        **{
            "task.init_checkpoint": teacher_dir,
            "trainer.train_steps": 6,
            "trainer.steps_per_loop": 1,
            "trainer.checkpoint_interval": 2,
            "task.model.hidden_dropout_prob": 0.1,
        },
    )
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    question_answering.run(params, whole, True)
    shutil.copytree(whole, killed)
    for path in glob.glob(f"{killed}/ckpt-[46]*"):
        os.remove(path)
    os.remove(f"{killed}/checkpoint")
    question_answering.run(params, killed, True)
    assert training.saved_step(killed) == 6
    expected = processes.variables(whole)
    for name, value in processes.variables(killed).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"task.train_data.input_path": ""}, "--train_file is required"),
        ({"task.train_data.input_path": "/no.json"}, "--train_file=/no.json"),
        (
            {"task.validation_data.input_path": "/no.json"},
            "--predict_file=/no.json",
        ),
        ({"task.init_checkpoint": "/nope"}, "--init_checkpoint=/nope"),
        ({"task.init_checkpoint": ""}, "--vocab_file is required"),
        ({"task.max_seq_length": 64}, "max_position_embeddings=32"),
        ({"task.max_seq_length": 7}, "--max_seq_length: got 7"),
        ({"task.doc_stride": 0}, "--doc_stride: got 0"),
        ({"task.decoding.n_best_size": 0}, "--n_best_size: got 0"),
        ({"task.train_data.global_batch_size": 999}, "batch of 999"),
        ({"task.train_data.global_batch_size": 0}, "at least 1, got 0"),
        ({"task.selection_metric": "exact"}, "one of f1, exact_match"),
        ({"task.decoding.tuned_null_threshold": "f1"}, "exact or f1 with"),
        ({"task.early_stopping_patience": -1}, "got -1"),
    ],
)
def test_wrong_input_is_named(teacher_dir, data, tmp_path, overrides, message):
    params = _params(
        data, "v1.1", **{"task.init_checkpoint": teacher_dir, **overrides}
    )
    model_dir = str(tmp_path / "run")
    with pytest.raises(ValueError, match=re.escape(message)):
        question_answering.run(params, model_dir, True, True)
    assert tf.train.latest_checkpoint(model_dir) is None


@pytest.mark.parametrize("part", ["train", "validation"])
def test_v2_without_its_flag_is_named(teacher_dir, data, tmp_path, part):
    split = {"train": "train", "validation": "dev"}[part]
    params = _params(
        data,
        "v1.1",
        **{
            "task.init_checkpoint": teacher_dir,
            f"task.{part}_data.input_path": data[f"{split}-v2.0"],
        },
    )
    with pytest.raises(ValueError, match="--version_2_with_negative"):
        question_answering.run(params, str(tmp_path / "run"), True, True)


def test_evaluation_needs_answers(teacher_dir, data, tmp_path):
    content = _json(data["dev-v1.1"])
    for paragraph in content["data"][0]["paragraphs"]:
        paragraph["qas"][0]["answers"] = []
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(content))
    params = _params(
        data, "v1.1", **{"task.validation_data.input_path": str(path)}
    )
    with pytest.raises(ValueError, match="expected answers for --do_eval"):
        question_answering.run(params, str(tmp_path / "run"), True, True)


def test_tuning_needs_an_evaluation(official_run, data):
    """One of v1.1 has no threshold."""
    params = _params(
        data, "v2.0", **{"task.decoding.tuned_null_threshold": "f1"}
    )
    with pytest.raises(ValueError, match="run with --do_eval first"):
        question_answering.run(params, official_run[0], False, do_predict=True)


def test_a_classifier_answers_no_questions(workspace, teacher_dir, data):
    with pytest.raises(ValueError, match="got head pretraining"):
        question_answering.run(
            _params(data, "v1.1"), teacher_dir, False, do_predict=True
        )
    with pytest.raises(ValueError, match="fine-tuned on question answering"):
        params = _params(data, "v1.1", **{"task.init_checkpoint": teacher_dir})
        folder = str(workspace.folder / "nothing")
        question_answering.run(params, folder, False, do_predict=True)


def test_a_model_that_answers_questions_is_no_classifier(official_run):
    with pytest.raises(ValueError, match="got head question_answering"):
        classification.load_classifier(official_run[0])


def test_nothing_to_do_is_an_error(data, tmp_path):
    with pytest.raises(ValueError, match="nothing to do"):
        question_answering.run(_params(data, "v1.1"), str(tmp_path), False)
