"""What does not belong together is refused in one line, before conversion."""

import json
import os
import shutil

import pytest
import small_models

from export import consistency
from mobilebert_tf import model_directory


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return small_models.write_model_directory(
        str(tmp_path_factory.mktemp("model"))
    )


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "model")


def _change_json(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def _change_vocabulary(folder, change):
    path = folder / "vocab.txt"
    lines = change(path.read_text().splitlines())
    path.write_text("".join(f"{line}\n" for line in lines))


def test_nothing_to_refuse(folder):
    model = model_directory.load(str(folder))
    consistency.check_folder(str(folder), str(folder))
    consistency.check_weights(model)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda tokens: [*tokens, "more"], "has 41 entries but .* is 40"),
        (lambda tokens: tokens[:-1], "has 39 entries but .* is 40"),
        (
            lambda tokens: [t.replace("[CLS]", "cls") for t in tokens],
            r"missing special tokens \[CLS\]",
        ),
    ],
    ids=["longer", "shorter", "without a special token"],
)
def test_vocabulary_of_another_model(folder, change, message):
    _change_vocabulary(folder, change)
    with pytest.raises(ValueError, match=f"vocab.txt:? {message}"):
        model_directory.load(str(folder))


@pytest.mark.parametrize(
    "file, fields",
    [
        ("model_info.json", {"labels": ["a", "b", "c"]}),
        ("bert_config.json", {"hidden_size": 64}),
        ("bert_config.json", {"num_hidden_layers": 3}),
    ],
    ids=["labels", "width", "more layers"],
)
def test_weights_that_do_not_fit(folder, file, fields):
    _change_json(folder / file, **fields)
    with pytest.raises(ValueError, match="ckpt-1: does not fit the model"):
        model_directory.load(str(folder))


@pytest.mark.parametrize(
    "fields", [{"num_hidden_layers": 1}, {"num_feedforward_networks": 2}]
)
def test_weights_that_would_be_left_out(folder, fields):
    _change_json(folder / "bert_config.json", **fields)
    model = model_directory.load(str(folder))
    with pytest.raises(ValueError, match=r"ckpt-1: has \d+ parameters, but"):
        consistency.check_weights(model)


def test_best_model_with_files_of_another_run(folder):
    best = folder / "best"
    best.mkdir()
    for name in ("vocab.txt", "bert_config.json"):
        shutil.copy(folder / name, best)
    consistency.check_folder(str(folder), str(best))
    _change_json(best / "bert_config.json", hidden_act="gelu")
    with pytest.raises(ValueError, match="bert_config.json differ"):
        consistency.check_folder(str(folder), str(best))
    # The same size and special tokens, in another order.
    _change_vocabulary(best, lambda tokens: [*tokens[:5], *tokens[:4:-1]])
    with pytest.raises(ValueError, match="vocab.txt differ: expected"):
        consistency.check_folder(str(folder), str(best))
    for name in ("vocab.txt", "bert_config.json"):
        os.remove(folder / name)
    consistency.check_folder(str(folder), str(best))


def _check_scores(folder, accuracy, step=7):
    consistency.check_scores(
        str(folder),
        f"{folder}/ckpt-{step}",
        {"dev": {"accuracy": accuracy, "validation_loss": 0.1}},
        {"accuracy": 100.0}.get,
    )


def test_score_of_the_training(tmp_path):
    _check_scores(tmp_path, 0.1)  # None is recorded.
    path = tmp_path / "evaluation_dev.json"
    record = {"step": 7, "metrics": {"accuracy": 0.8, "validation_loss": 9.0}}
    path.write_text(json.dumps(record))
    _check_scores(tmp_path, 0.8)
    _check_scores(tmp_path, 0.792)
    _check_scores(tmp_path, 0.1, step=8)
    for accuracy in (0.78, 0.82, float("nan")):
        with pytest.raises(ValueError, match="accuracy is .*, but was 0.8000"):
            _check_scores(tmp_path, accuracy)
    path.write_text("[]")
    with pytest.raises(ValueError, match="evaluation_dev.json: no evaluation"):
        _check_scores(tmp_path, 0.8)
