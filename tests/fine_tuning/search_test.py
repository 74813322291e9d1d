"""Searches with trials that only pretend to train."""

import csv
import json
import os

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import search_config
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.fine_tuning import search
from mobilebert_tf.training import training_loop

_RATE = (
    "trainer.optimizer_config.learning_rate.polynomial.initial_learning_rate"
)
_END_RATE = _RATE.replace("initial", "end")
_SPACE = {"learning_rates": [1e-5, 2e-5], "seeds": [1, 2, 3]}
_ONE = {"seeds": [1]}
_NAME = "batch_32_rate_{}_epochs_3_seed_{}"


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch):
    """It takes longer than all the rest of these searches."""
    monkeypatch.setattr(search.gc, "collect", lambda: 0)


class _Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


class _Trials:
    """Trains nothing: writes what a run leaves, with a score of its own.

    Attributes:
        done: experiments of the trials, in order.
    """

    def __init__(self, scores, metric="accuracy"):
        self.done = []
        self._scores = scores
        self._metric = metric

    def __call__(self, params, model_dir):
        self.done.append(params)
        rate = params.trainer.optimizer_config.learning_rate.get()
        score = self._scores(rate.initial_learning_rate, params.task.seed)
        best = os.path.join(model_dir, model_selection.BEST)
        for folder in (model_dir, best):
            os.makedirs(folder, exist_ok=True)
            for name in ("bert_config.json", "vocab.txt", "model_info.json"):
                _write(os.path.join(folder, name), model_dir)
        experiment_builder.write_params(params, model_dir)
        for folder in (model_dir, best):
            checkpoint = tf.train.Checkpoint(seed=tf.Variable(params.task.seed))
            tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1).save()
        if isinstance(score, BaseException):
            raise score
        evaluation = {"metrics": {self._metric: score}}
        _write(
            os.path.join(best, "evaluation_dev.json"), json.dumps(evaluation)
        )


def _write(path, text):
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(text)


def _read_json(path):
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


def _params(**overrides):
    return experiment_builder.build(
        classification_config.classification(), [], "", overrides
    )


def _search(tmp_path, trials, space=None, metric="accuracy", **overrides):
    params = _params(**overrides)
    params.search = search_config.SearchConfig(**(space or _SPACE))
    return search.run(params, str(tmp_path / "search"), trials, metric)


def _folders_with_weights(tmp_path):
    """Returns trials whose best weights are there, and those with others."""
    best, own = set(), set()
    for folder in (tmp_path / "search" / "trials").iterdir():
        if list(folder.glob("best/ckpt-*.index")):
            best.add(folder.name)
        if list(folder.glob("ckpt-*")):
            own.add(folder.name)
    return best, own


def test_every_combination_is_tried(tmp_path):
    trials = _Trials(lambda rate, seed: 0.5)
    space = {
        "global_batch_sizes": [16, 32],
        "learning_rates": [1e-5, 3e-5],
        "num_train_epochs": [2, 4],
        "seeds": [5, 6],
    }
    _search(tmp_path, trials, space)
    tried = [
        (
            each.task.train_data.global_batch_size,
            each.trainer.optimizer_config.learning_rate.get().as_dict()[
                "initial_learning_rate"
            ],
            each.task.num_train_epochs,
            each.task.seed,
            each.task.train_data.seed,
        )
        for each in trials.done
    ]
    assert tried == [
        (batch, rate, epochs, seed, seed)
        for batch in (16, 32)
        for rate in (1e-5, 3e-5)
        for epochs in (2.0, 4.0)
        for seed in (5, 6)
    ]


def test_a_trial_differs_in_nothing_else(tmp_path):
    """The rate at the end keeps its share, the intervals their examples."""
    trials = _Trials(lambda rate, seed: 0.5)
    own = {
        _RATE: 4e-5,
        _END_RATE: 4e-9,
        "task.train_data.global_batch_size": 16,
        "trainer.validation_interval": 229,
        "trainer.checkpoint_interval": 100,
    }
    space = {
        "global_batch_sizes": [48],
        "learning_rates": [1e-5],
        "num_train_epochs": [7],
        "seeds": [3],
    }
    _search(tmp_path, trials, space, **own)
    expected = _params(
        **{
            **own,
            _RATE: 1e-5,
            _END_RATE: 1e-9,
            "task.train_data.global_batch_size": 48,
            "trainer.validation_interval": 76,
            "trainer.checkpoint_interval": 33,
            "task.num_train_epochs": 7.0,
            "task.seed": 3,
            "task.train_data.seed": 3,
        }
    )
    assert trials.done[0].as_dict() == expected.as_dict()


def test_the_best_mean_wins_not_the_best_trial(tmp_path):
    scores = {1e-5: {1: 0.1, 2: 0.9, 3: 0.2}, 2e-5: {1: 0.5, 2: 0.6, 3: 0.55}}
    result = _search(tmp_path, _Trials(lambda rate, seed: scores[rate][seed]))
    assert result == {"accuracy": 0.6}
    report = _read_json(tmp_path / "search" / "search.json")
    assert report["best"] == _NAME.format("2e-05", 2)
    first, second = report["settings"]
    assert first["learning_rate"] == 2e-5
    for row in (first, second):
        values = list(scores[row["learning_rate"]].values())
        assert row["mean"] == pytest.approx(np.mean(values), rel=1e-12)
        assert row["standard_deviation"] == pytest.approx(
            np.std(values, ddof=1), rel=1e-12
        )
        assert row["num_scores"] == 3


def test_of_a_loss_the_least_is_best(tmp_path):
    trials = _Trials(lambda rate, seed: rate * 1e5 + seed, "validation_loss")
    result = _search(tmp_path, trials, metric="validation_loss")
    assert result == {"validation_loss": 2.0}


def test_the_folder_becomes_that_of_the_best_model(tmp_path):
    trials = _Trials(lambda rate, seed: rate * 1e4 + seed)
    _search(tmp_path, trials)
    folder = tmp_path / "search"
    trial = str(folder / "trials" / _NAME.format("2e-05", 3))
    for name in ("bert_config.json", "vocab.txt", "model_info.json"):
        assert (folder / name).read_text() == trial
        assert (folder / "best" / name).read_text() == trial
    params = _read_params(folder / "params.yaml")
    assert params["task"]["seed"] == 3
    best = model_selection.best_or_newest(str(folder))
    assert best == str(folder / "best")
    variable = "seed/.ATTRIBUTES/VARIABLE_VALUE"
    assert tf.train.load_variable(best, variable) == 3


def _read_params(path):
    return experiment_builder.files.read_yaml(str(path))


def test_only_models_that_can_win_are_on_disk(tmp_path):
    scores = {1e-5: [0.1, 0.9, 0.2], 2e-5: [0.5, 0.7, 0.6], 3e-5: [0.4] * 3}
    before = []
    trials = _Trials(lambda rate, seed: scores[rate][seed - 1])

    def run_trial(params, model_dir):
        if trials.done:
            best, own = _folders_with_weights(tmp_path)
            assert not own
            before.append(best)
        trials(params, model_dir)

    _search(tmp_path, run_trial, {**_SPACE, "learning_rates": list(scores)})
    first, second = _NAME.format("1e-05", 2), _NAME.format("2e-05", 2)
    third = _NAME.format("3e-05", 1)
    assert before == [
        {_NAME.format("1e-05", 1)},
        {first},
        {first},
        {first, _NAME.format("2e-05", 1)},
        {first, second},
        {second},
        {second, third},
        {second, third},
    ]
    assert _folders_with_weights(tmp_path) == ({second}, set())


def test_a_trial_that_diverges_has_failed(tmp_path, capsys):
    def scores(rate, seed):
        if rate == 2e-5 and seed == 2:
            return training_loop.NotFiniteError("step 7: loss is nan\nhere")
        return rate * 1e4

    _search(tmp_path, _Trials(scores))
    report = _read_json(tmp_path / "search" / "search.json")
    failed = [row for row in report["trials"] if row["status"] == "failed"]
    assert [row["reason"] for row in failed] == ["step 7: loss is nan here"]
    assert capsys.readouterr().out.splitlines()[-4:-1] == [
        "batch   rate  epochs  seed 1  seed 2  seed 3    mean     std  n",
        "32     1e-05       3  0.1000  0.1000  0.1000  0.1000  0.0000  3",
        "32     2e-05       3  0.2000  failed  0.2000  0.2000  0.0000  2",
    ]
    # Better, but who knows how often.
    assert report["best"] == _NAME.format("1e-05", 1)


def test_all_fail(tmp_path):
    trials = _Trials(lambda rate, seed: training_loop.NotFiniteError("nan"))
    for _ in range(2):
        with pytest.raises(ValueError, match="all 6 trials failed, .*: nan"):
            _search(tmp_path, trials)
    assert len(trials.done) == 6


def test_another_error_ends_the_search(tmp_path):
    trials = _Trials(lambda rate, seed: ValueError("no such file"))
    with pytest.raises(ValueError, match="no such file"):
        _search(tmp_path, trials)
    assert len(trials.done) == 1
    mended = _Trials(lambda rate, seed: 0.5)
    _search(tmp_path, mended)
    assert len(mended.done) == 6


def test_a_killed_search_goes_on(tmp_path):
    def dies(rate, seed):
        return _Killed() if (rate, seed) == (2e-5, 1) else 0.5 + seed / 100

    killed = _Trials(dies)
    with pytest.raises(_Killed):
        _search(tmp_path, killed)
    resumed = _Trials(lambda rate, seed: 0.5 + seed / 100)
    result = _search(tmp_path, resumed)
    assert [each.task.seed for each in killed.done + resumed.done] == [
        1,
        2,
        3,
        1,
        1,
        2,
        3,
    ]
    assert result == {"accuracy": 0.53}


def test_a_finished_search_trains_nothing(tmp_path):
    _search(tmp_path, _Trials(lambda rate, seed: rate * seed))
    before = _read_json(tmp_path / "search" / "search.json")
    again = _Trials(lambda rate, seed: 0.5)
    _search(tmp_path, again)
    assert not again.done
    assert _read_json(tmp_path / "search" / "search.json") == before


def test_a_larger_space_takes_over_what_is_done(tmp_path):
    _search(tmp_path, _Trials(lambda rate, seed: rate * seed))
    more = _Trials(lambda rate, seed: rate * seed)
    _search(tmp_path, more, {**_SPACE, "seeds": [1, 2, 3, 4]})
    assert [each.task.seed for each in more.done] == [4, 4]


def test_trials_outside_the_space_do_not_count(tmp_path, caplog):
    _search(tmp_path, _Trials(lambda rate, seed: rate * seed))
    caplog.set_level("INFO", "absl")
    smaller = {"learning_rates": [1e-5], "seeds": [1, 2, 3]}
    again = _Trials(lambda rate, seed: rate * seed)
    result = _search(tmp_path, again, smaller)
    assert result == {"accuracy": pytest.approx(3e-5)}
    report = _read_json(tmp_path / "search" / "search.json")
    assert report["outside"] == [_NAME.format("2e-05", s) for s in (1, 2, 3)]
    assert "3 trials in" in caplog.text
    # Its weights had been dropped while the other rate led.
    assert [each.task.seed for each in again.done] == [3]
    assert (tmp_path / "search" / "params.yaml").exists()
    assert report["best"] == _NAME.format("1e-05", 3)


@pytest.mark.parametrize(
    "change",
    [
        {"task.data_dir": "elsewhere"},
        {"task.init_checkpoint": "elsewhere"},
        {"task.max_seq_length": 64},
        {"task.model.preset": "mobilebert_tiny"},
        {"trainer.optimizer_config.optimizer.adamw.weight_decay_rate": 0.1},
        {"runtime.mixed_precision_dtype": "bfloat16"},
    ],
)
def test_another_experiment_is_no_continuation(tmp_path, change):
    _search(tmp_path, _Trials(lambda rate, seed: 0.5), _ONE)
    trials = _Trials(lambda rate, seed: 0.5)
    ((key, value),) = change.items()
    with pytest.raises(ValueError, match=f"{key} is .* has {value!r}; choose"):
        _search(tmp_path, trials, _ONE, **change)
    assert not trials.done


def test_a_mistake_can_be_mended_before_any_training(tmp_path):
    def fails(params, model_dir):
        raise ValueError("no such directory")

    with pytest.raises(ValueError, match="no such directory"):
        _search(tmp_path, fails, _ONE, **{"task.data_dir": "elsewere"})
    trials = _Trials(lambda rate, seed: 0.5)
    _search(tmp_path, trials, _ONE, **{"task.data_dir": "elsewhere"})
    assert trials.done[0].task.data_dir == "elsewhere"


def test_another_metric_is_no_continuation(tmp_path):
    _search(tmp_path, _Trials(lambda rate, seed: 0.5), _ONE)
    with pytest.raises(ValueError, match="metric is 'accuracy' in"):
        _search(tmp_path, _Trials(lambda rate, seed: 0.5), _ONE, metric="f1")


def test_devices_and_intervals_may_change(tmp_path):
    _search(tmp_path, _Trials(lambda rate, seed: 0.5), _ONE)
    again = _Trials(lambda rate, seed: 0.5)
    _search(
        tmp_path,
        again,
        _ONE,
        **{"runtime.num_gpus": 1, "trainer.steps_per_loop": 7},
    )
    assert not again.done


def test_a_runs_folder_is_no_searchs(tmp_path):
    (tmp_path / "search").mkdir()
    _write(tmp_path / "search" / "bert_config.json", "{}")
    with pytest.raises(ValueError, match="bert_config.json is there but no"):
        _search(tmp_path, _Trials(lambda rate, seed: 0.5))


@pytest.mark.parametrize(
    "name", ["search.json", f"trials/{_NAME.format('5e-05', 1)}/trial.json"]
)
def test_a_damaged_record(tmp_path, name):
    _search(tmp_path, _Trials(lambda rate, seed: 0.5), _ONE)
    path = tmp_path / "search" / name
    path.write_text(path.read_text()[:9])
    with pytest.raises(ValueError, match="expected JSON with") as error:
        _search(tmp_path, _Trials(lambda rate, seed: 0.5), _ONE)
    assert str(path) in str(error.value)


def test_the_table_of_trials(tmp_path):
    def scores(rate, seed):
        if seed == 2:
            return training_loop.NotFiniteError("step 7: loss is nan")
        return 0.25 * seed

    _search(tmp_path, _Trials(scores), {"seeds": [1, 2, 3]})
    with open(tmp_path / "search" / "search.tsv", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["score"] for row in rows] == ["0.25", "", "0.75"]
    assert [row["status"] for row in rows] == ["finished", "failed", "finished"]
    assert rows[1]["reason"] == "step 7: loss is nan"
    assert rows[0]["trial"] == _NAME.format("5e-05", 1)
    assert [row["rate"] for row in rows] == ["5e-05"] * 3


def test_one_seed_has_no_deviation(tmp_path, capsys):
    _search(tmp_path, _Trials(lambda rate, seed: 0.5), {"seeds": [1]})
    row = capsys.readouterr().out.splitlines()[-2]
    assert row.split() == "32 5e-05 3 0.5000 0.5000 - 1".split()


@pytest.mark.parametrize(
    "change, space, message",
    [
        ({}, {"seeds": [1, 1]}, "search.seeds: got 1 twice"),
        (
            {"trainer.train_steps": 9},
            {"num_train_epochs": [1.0]},
            "trainer.train_steps=9: expected 0",
        ),
        (
            {"trainer.optimizer_config.learning_rate.type": "exponential"},
            {"seeds": [1]},
            "learning_rate.type=exponential: expected polynomial",
        ),
        (
            {"runtime.distribution_strategy": "multi_worker_mirrored"},
            {"seeds": [1]},
            "expected one worker",
        ),
        (
            {"task.keep_best": False},
            {"seeds": [1]},
            "task.keep_best: expected true",
        ),
    ],
)
def test_wrong_searches(tmp_path, change, space, message):
    trials = _Trials(lambda rate, seed: 0.5)
    with pytest.raises(ValueError, match=message):
        _search(tmp_path, trials, space, **change)
    assert not trials.done
    assert not (tmp_path / "search").exists()


def test_a_run_that_keeps_no_model(tmp_path):
    with pytest.raises(ValueError, match="has kept no best model"):
        _search(tmp_path, lambda params, model_dir: None)
