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
import time

import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.data import squad
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import question_answering_config
from mobilebert_tf.fine_tuning import classification
from mobilebert_tf.fine_tuning import question_answering
from mobilebert_tf.fine_tuning import search
from mobilebert_tf.fine_tuning import squad_flags
from mobilebert_tf.training import training_log
from mobilebert_tf.training import training_loop
from tests.training import processes

_ROOT = pathlib.Path(__file__).parents[2]
_RATE = (
    "trainer.optimizer_config.learning_rate.polynomial.initial_learning_rate"
)
_DEV_SIZE = 40
_OFTEN = ("--save_checkpoints_steps=20", "--iterations_per_loop=10")


def _toy(words, count, share_without_answer, seed):
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
        }
        has_answer = rng.random() >= share_without_answer
        if has_answer:
            place, answer = rng.randrange(len(context)), rng.choice(answers)
            context.insert(place, answer)
            start = len(" ".join([*context[:place], ""]))
            question["answers"] = [{"text": answer, "answer_start": start}]
        if share_without_answer:
            question["is_impossible"] = not has_answer
        paragraphs.append({"context": " ".join(context), "qas": [question]})
    return {"version": "", "data": [{"title": "", "paragraphs": paragraphs}]}


@pytest.fixture(scope="module", name="data")
def _data(workspace):
    """Paths by name: of v1.1 and v2.0, to train and to evaluate on."""
    folder = workspace.folder / "squad"
    folder.mkdir()
    paths = {}
    for version, share in (("v1.1", 0.0), ("v2.0", 0.4)):
        for split, count, seed in (("train", 160, 1), ("dev", _DEV_SIZE, 2)):
            path = folder / f"{split}-{version}.json"
            content = _toy(workspace.words, count, share, seed)
            path.write_text(json.dumps(content))
            paths[f"{split}-{version}"] = str(path)
    return paths


def _params(data, version, **overrides):
    return experiment_builder.build(
        question_answering_config.question_answering(),
        [],
        "",
        {
            "task.max_seq_length": 24,
            "task.doc_stride": 8,
            "task.max_query_length": 4,
            "task.version_2_with_negative": version == "v2.0",
            "task.train_data.input_path": data[f"train-{version}"],
            "task.validation_data.input_path": data[f"dev-{version}"],
            "task.train_data.global_batch_size": 16,
            "trainer.steps_per_loop": 20,
            **overrides,
        },
    )


def _command(workspace, data, version, model_dir):
    """The command of the official README, with the lengths of a tiny model."""
    return [
        "run_squad",
        f"--bert_config_file={workspace.teacher}",
        f"--data_dir={model_dir}-cache",
        "--do_lower_case",
        "--do_predict",
        "--do_train",
        "--doc_stride=8",
        f"--init_checkpoint={workspace.folder / 'squad' / 'tf1'}",
        "--learning_rate=0.01",
        "--max_answer_length=30",
        "--max_query_length=4",
        "--max_seq_length=24",
        "--n_best_size=20",
        "--num_train_epochs=16",
        f"--output_dir={model_dir}",
        f"--predict_file={data[f'dev-{version}']}",
        f"--train_file={data[f'train-{version}']}",
        "--train_batch_size=16",
        f"--vocab_file={workspace.vocab_file}",
        "--warmup_proportion=0.1",
    ]


@pytest.fixture(scope="module", name="checkpoint")
def _checkpoint(workspace, teacher_dir, data):
    """Makes the TF1 checkpoint that the command starts from."""
    del data
    folder = str(workspace.folder / "squad" / "tf1")
    conversion.convert(teacher_dir, folder, "mobilebert_tf", "tf1")
    return folder


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


def _changed(path, folder, change):
    """Returns a copy of a data file with `change` made to each paragraph."""
    content = _json(path)
    for paragraph in content["data"][0]["paragraphs"]:
        change(paragraph)
    copy = folder / "changed.json"
    copy.write_text(json.dumps(content))
    return str(copy)


@pytest.fixture(scope="module", name="v2_run")
def _v2_run(workspace, checkpoint, data):
    """(model_dir, scores) of the official command on v2.0, with --do_eval."""
    model_dir = str(workspace.folder / "squad" / "v2")
    values = flags.FlagValues()
    squad_flags.define(values)
    values(
        [
            *_command(workspace, data, "v2.0", model_dir),
            "--version_2_with_negative",
            "--do_eval",
            "--params_override=trainer.validation_interval=80",
        ]
    )
    params = squad_flags.build(values)
    scores = question_answering.run(params, model_dir, True, True, True)
    return model_dir, scores


def _copied(run, folder):
    """Returns a run whose folder a test may change."""
    model_dir, result = run
    copy = str(folder / "run")
    shutil.copytree(model_dir, copy)
    return copy, result


def test_it_learns_to_answer_and_not_to_answer(v2_run, data):
    model_dir, scores = v2_run
    predictions = _json(f"{model_dir}/predictions.json")
    exact = _percent_exact(predictions, _answers(data["dev-v2.0"]))
    assert scores["exact"] == pytest.approx(exact)
    assert scores["HasAns_exact"] > 60
    assert scores["NoAns_exact"] > 60


def test_null_odds_decide(v2_run):
    model_dir, _ = v2_run
    predictions = _json(f"{model_dir}/predictions.json")
    null_odds = _json(f"{model_dir}/null_odds.json")
    assert {i: odds <= 0 for i, odds in null_odds.items()} == {
        i: bool(text) for i, text in predictions.items()
    }


def test_n_best_holds_the_prediction(v2_run):
    model_dir, _ = v2_run
    predictions = _json(f"{model_dir}/predictions.json")
    n_best = _json(f"{model_dir}/nbest_predictions.json")
    assert predictions.keys() == n_best.keys()
    for question_id, candidates in n_best.items():
        texts = [candidate["text"] for candidate in candidates]
        assert "" in texts
        assert predictions[question_id] in texts
        total = sum(candidate["probability"] for candidate in candidates)
        assert total == pytest.approx(1.0)


def test_steps_follow_from_questions_not_windows(v2_run):
    assert training_loop.saved_step(v2_run[0]) == 160 // 16 * 16


def test_the_best_model_of_the_run_predicts(v2_run):
    model_dir, scores = v2_run
    rows = [
        row
        for row in training_log.read_metrics(model_dir)
        if row["kind"] == "validation"
    ]
    assert [row["step"] for row in rows] == [80, 160]
    assert scores["f1"] == pytest.approx(max(row["f1"] for row in rows))
    best = _json(f"{model_dir}/best/evaluation_dev.json")
    assert best["metrics"] == pytest.approx(scores, rel=1e-4)
    predicted = _json(f"{model_dir}/evaluation_predictions.json")
    assert predicted == {"step": best["step"], "metrics": scores}


def test_evaluation_alone_gives_the_same_scores(v2_run, data):
    """The windows come from the cache of the run."""
    model_dir, scores = v2_run
    cache = f"{model_dir}-cache"
    caches = [f"{cache}/{name}" for name in sorted(os.listdir(cache))]
    times = [os.stat(path).st_mtime_ns for path in caches]
    params = experiment_builder.with_recorded_task(
        question_answering_config.question_answering(), model_dir
    )
    again = question_answering.run(params, model_dir, False, True)
    assert again == pytest.approx(scores, rel=1e-4)
    assert len(caches) == 2
    assert [os.stat(path).st_mtime_ns for path in caches] == times


@pytest.mark.parametrize(
    "metric", ["f1", pytest.param("exact", marks=pytest.mark.slow)]
)
def test_the_tuned_threshold_gives_the_best_score(
    v2_run, data, tmp_path, metric
):
    """Up to the question whose odds are the threshold."""
    model_dir, scores = _copied(v2_run, tmp_path)
    params = _params(
        data, "v2.0", **{"task.decoding.tuned_null_threshold": metric}
    )
    tuned = question_answering.run(params, model_dir, False, do_predict=True)
    best = scores[f"best_{metric}"]
    assert tuned[metric] == pytest.approx(best, abs=100 / _DEV_SIZE + 1e-6)


@pytest.mark.slow
def test_a_threshold_below_all_odds_answers_nothing(v2_run, data, tmp_path):
    model_dir, scores = _copied(v2_run, tmp_path)
    params = _params(
        data, "v2.0", **{"task.decoding.null_score_diff_threshold": -1e9}
    )
    nothing = question_answering.run(params, model_dir, False, do_predict=True)
    assert (nothing["HasAns_exact"], nothing["NoAns_exact"]) == (0.0, 100.0)
    assert nothing["best_f1"] == pytest.approx(scores["best_f1"])


@pytest.mark.slow
def test_a_file_without_answers_is_predicted_not_scored(v2_run, data, tmp_path):
    def hide_answers(paragraph):
        for question in paragraph["qas"]:
            del question["answers"], question["is_impossible"]

    model_dir, _ = _copied(v2_run, tmp_path)
    before = _json(f"{model_dir}/null_odds.json")
    os.remove(f"{model_dir}/null_odds.json")
    path = _changed(data["dev-v2.0"], tmp_path, hide_answers)
    params = _params(data, "v2.0", **{"task.validation_data.input_path": path})
    assert not question_answering.run(params, model_dir, False, do_predict=True)
    after = _json(f"{model_dir}/null_odds.json")
    assert after == pytest.approx(before, rel=1e-4)


@pytest.mark.slow
def test_a_question_without_candidate_has_no_answer(v2_run, data, tmp_path):
    """The tokenizer drops all of the contexts: no window, no span."""
    path = _changed(
        data["dev-v2.0"],
        tmp_path,
        lambda paragraph: paragraph.update(context="\u200b"),
    )
    params = _params(data, "v2.0", **{"task.validation_data.input_path": path})
    model_dir, _ = _copied(v2_run, tmp_path)
    scores = question_answering.run(params, model_dir, False, do_predict=True)
    assert set(_json(f"{model_dir}/predictions.json").values()) == {""}
    assert (scores["HasAns_exact"], scores["NoAns_exact"]) == (0.0, 100.0)


@pytest.mark.slow
def test_prediction_from_a_checkpoint_elsewhere(v2_run, data, tmp_path):
    """As in the official script, there is no model in the folder."""
    best = f"{v2_run[0]}/best"
    params = _params(data, "v2.0", **{"task.init_checkpoint": best})
    model_dir = str(tmp_path / "run")
    scores = question_answering.run(params, model_dir, False, do_predict=True)
    assert scores == pytest.approx(v2_run[1], rel=1e-4)


@pytest.mark.slow
def test_a_run_starts_with_the_head_of_a_fine_tuned_model(
    v2_run, data, tmp_path
):
    params = _params(
        data,
        "v2.0",
        **{
            "task.init_checkpoint": v2_run[0],
            "trainer.train_steps": 1,
            _RATE: 1e-12,
        },
    )
    model_dir = str(tmp_path / "run")
    question_answering.run(params, model_dir, True)
    for ours, start in zip(
        model_directory.load(model_dir).model.get_weights(),
        model_directory.load(v2_run[0]).model.get_weights(),
        strict=True,
    ):
        np.testing.assert_allclose(ours, start, atol=1e-9)


def _start(command, log):
    """Starts the binary; its errors go to `log`."""
    with open(log, "w", encoding="utf-8") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "mobilebert_tf.run_squad", *command[1:]],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
        )


@pytest.fixture(scope="module", name="v1_run")
def _v1_run(workspace, checkpoint, data):
    """(model_dir, standard output) of the official command on v1.1."""
    model_dir = str(workspace.folder / "squad" / "v1")
    log = f"{model_dir}.log"
    command = _command(workspace, data, "v1.1", model_dir)
    process = _start([*command, *_OFTEN], log)
    printed, _ = process.communicate(timeout=900)
    assert process.returncode == 0, pathlib.Path(log).read_text()[-3000:]
    return model_dir, printed


@pytest.mark.slow
def test_the_binary_prints_and_logs_the_scores(v1_run, data):
    model_dir, printed = v1_run
    predictions = _json(f"{model_dir}/predictions.json")
    exact = _percent_exact(predictions, _answers(data["dev-v1.1"]))
    scores = json.loads(printed)
    assert exact > 80
    assert scores["exact_match"] == pytest.approx(exact)
    report = _json(f"{model_dir}/evaluation_predictions.json")
    assert report == {"step": 160, "metrics": scores}
    row = training_log.read_metrics(model_dir)[-1]
    assert row["kind"] == "validation"
    assert row["exact_match"] == scores["exact_match"]
    assert not os.path.exists(f"{model_dir}/null_odds.json")


@pytest.mark.slow
def test_tuning_needs_an_evaluation(v1_run, data):
    params = _params(
        data, "v2.0", **{"task.decoding.tuned_null_threshold": "f1"}
    )
    with pytest.raises(ValueError, match="run with --do_eval first"):
        question_answering.run(params, v1_run[0], False, do_predict=True)


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(
    workspace, checkpoint, v1_run, data, tmp_path
):
    model_dir = str(tmp_path / "run")
    command = _command(workspace, data, "v1.1", model_dir)
    process = _start([*command, *_OFTEN], tmp_path / "killed.log")
    deadline = time.monotonic() + 600
    while not glob.glob(f"{model_dir}/ckpt-[1-9]*.index"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    process = _start([*command, *_OFTEN], tmp_path / "continued.log")
    process.communicate(timeout=900)
    assert process.returncode == 0
    assert "steps 0 to" not in (tmp_path / "continued.log").read_text()
    expected = processes.variables(v1_run[0])
    for name, value in processes.variables(model_dir).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    name = "nbest_predictions.json"
    assert _json(f"{model_dir}/{name}") == _json(f"{v1_run[0]}/{name}")


@pytest.mark.slow
def test_the_binary_says_in_one_line_what_is_wrong(workspace, data, tmp_path):
    broken = tmp_path / "train.json"
    broken.write_text(pathlib.Path(data["train-v1.1"]).read_text()[:999])
    process = _start(
        [
            "run_squad",
            f"--bert_config_file={workspace.teacher}",
            f"--vocab_file={workspace.vocab_file}",
            f"--train_file={broken}",
            f"--output_dir={tmp_path / 'run'}",
            "--max_seq_length=24",
            "--max_query_length=4",
            "--do_train",
        ],
        tmp_path / "log",
    )
    process.communicate(timeout=600)
    assert process.returncode == 1
    lines = (tmp_path / "log").read_text().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert errors == lines[-1:]
    assert f"{broken}:1: not JSON, or cut off" in lines[-1]


@pytest.mark.slow
def test_real_questions(workspace, tmp_path):
    """Text of every kind, with random weights: answers are of the context."""
    folder = pathlib.Path(
        os.environ.get("MOBILEBERT_DATA", _ROOT / "../shared/data")
    )
    if not folder.is_dir():
        pytest.skip(f"MOBILEBERT_DATA: no folder {folder}")
    content = _json(folder / "squad" / "cs224n-dev-v2.0.json")
    content["data"] = content["data"][:1]
    path = tmp_path / "one_article.json"
    path.write_text(json.dumps(content))
    params = experiment_builder.build(
        question_answering_config.question_answering(),
        [],
        "",
        {
            "task.model.preset": "micro",
            "task.model.vocab_file": str(folder / "vocab" / "vocab.txt"),
            "task.version_2_with_negative": True,
            "task.max_seq_length": 128,
            "task.train_data.input_path": str(path),
            "task.train_data.global_batch_size": 4,
            "task.validation_data.input_path": str(path),
            "task.decoding.null_score_diff_threshold": 1e6,
            "trainer.train_steps": 2,
        },
    )
    model_dir = str(tmp_path / "run")
    scores = question_answering.run(params, model_dir, True, False, True)
    examples = squad.read_examples(str(path))
    assert scores["total"] == len(examples)
    predictions = _json(f"{model_dir}/predictions.json")
    for example in examples:
        context = " ".join(squad.split_words(example.context))
        assert predictions[example.question_id] in context
    assert all(predictions.values())


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


@pytest.mark.parametrize("split", ["train", "dev"])
def test_v2_without_its_flag_is_named(teacher_dir, data, tmp_path, split):
    part = {"train": "train_data", "dev": "validation_data"}[split]
    params = _params(
        data,
        "v1.1",
        **{
            "task.init_checkpoint": teacher_dir,
            f"task.{part}.input_path": data[f"{split}-v2.0"],
        },
    )
    with pytest.raises(ValueError, match="--version_2_with_negative"):
        question_answering.run(params, str(tmp_path / "run"), True, True)


def test_contexts_without_text_teach_nothing(teacher_dir, data, tmp_path):
    def empty(paragraph):
        paragraph["context"] = "\u200b"
        answer = {"text": "\u200b", "answer_start": 0}
        paragraph["qas"][0]["answers"] = [answer]

    path = _changed(data["train-v1.1"], tmp_path, empty)
    params = _params(
        data,
        "v1.1",
        **{
            "task.init_checkpoint": teacher_dir,
            "task.train_data.input_path": path,
        },
    )
    with pytest.raises(ValueError, match="got no window"):
        question_answering.run(params, str(tmp_path / "run"), True)


def test_evaluation_needs_answers(data, tmp_path):
    path = _changed(
        data["dev-v1.1"],
        tmp_path,
        lambda paragraph: paragraph["qas"][0].update(answers=[]),
    )
    params = _params(data, "v1.1", **{"task.validation_data.input_path": path})
    with pytest.raises(ValueError, match="expected answers for --do_eval"):
        question_answering.run(params, str(tmp_path / "run"), True, True)


def test_a_model_of_another_kind_does_not_answer(teacher_dir, data):
    with pytest.raises(ValueError, match="got pretraining"):
        question_answering.run(
            _params(data, "v1.1"), teacher_dir, False, do_predict=True
        )


def test_a_start_of_another_kind_does_not_answer(teacher_dir, data, tmp_path):
    params = _params(data, "v1.1", **{"task.init_checkpoint": teacher_dir})
    with pytest.raises(ValueError, match="question_answering, got no"):
        question_answering.run(
            params, str(tmp_path / "run"), False, do_predict=True
        )


def test_a_model_that_answers_is_no_classifier(v2_run):
    with pytest.raises(ValueError, match="got question_answering"):
        classification.load_classifier(v2_run[0])


def test_nothing_to_do_is_an_error(data, tmp_path):
    with pytest.raises(ValueError, match="nothing to do"):
        question_answering.run(_params(data, "v1.1"), str(tmp_path), False)


@pytest.mark.slow
def test_a_search_keeps_the_best_and_caches_once(teacher_dir, data, tmp_path):
    params = _params(
        data,
        "v2.0",
        **{
            "task.init_checkpoint": teacher_dir,
            "trainer.train_steps": 4,
            "search.seeds": [1, 2],
        },
    )
    folder = tmp_path / "search"
    kind = question_answering.QuestionAnswering
    found = search.run_kind(kind, params, str(folder), "dev")
    again = question_answering.run(params, str(folder), False, do_predict=True)
    assert found == {"f1": again["f1"]}
    assert (folder / "predictions.json").exists()
    # Trials share the windows.
    assert len(list(folder.rglob("*.train.features*"))) == 1
