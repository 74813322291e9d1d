"""Whole runs with a fine-tuned teacher, for every kind of task."""

import csv
import json
import os
import random
import shutil
import types

import numpy as np
import pytest
import small_networks
import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import multiple_choice_config
from mobilebert_tf.experiments import question_answering_config
from mobilebert_tf.experiments import tagging_config
from mobilebert_tf.fine_tuning import classification
from mobilebert_tf.fine_tuning import multiple_choice
from mobilebert_tf.fine_tuning import question_answering
from mobilebert_tf.fine_tuning import tagging
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.training import training_log

_LENGTH = 16
_STEPS = 4
_EXAMPLES = 40


def _write_table(folder, words, label):
    rng = random.Random(1)
    lines = ["text\tlabel"]
    for row in range(_EXAMPLES):
        lines.append(f"{' '.join(rng.choices(words, k=5))}\t{label(row)}")
    path = folder / "train.tsv"
    path.write_text("\n".join(lines) + "\n")
    return {"task.table.train_file": str(path)}


def _classification_data(folder, words):
    return _write_table(folder, words, lambda row: ("no", "yes")[row % 2])


def _regression_data(folder, words):
    return {
        **_write_table(folder, words, lambda row: row / 10),
        "task.table.regression": True,
    }


def _tagging_data(folder, words):
    rng = random.Random(1)
    lines = []
    for _ in range(_EXAMPLES):
        for word in rng.choices(words, k=rng.randint(1, 6)):
            lines.append(f"{word} {rng.choice(['O', 'B-PER'])}")
        lines.append("")
    (folder / "train.txt").write_text("\n".join(lines) + "\n")
    return {"task.data_dir": str(folder)}


def _choice_data(folder, words):
    rng = random.Random(1)
    with open(folder / "train.csv", "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["", "sent1", "sent2", "ending0", "ending1", "label"])
        for row in range(_EXAMPLES):
            writer.writerow([row, *rng.choices(words, k=4), row % 2])
    return {"task.data_dir": str(folder)}


def _question_data(folder, words):
    rng = random.Random(1)
    paragraphs = []
    for row in range(_EXAMPLES):
        context = rng.sample(words, 6)
        start = len(" ".join([*context[:3], ""]))
        answer = {"text": context[3], "answer_start": start}
        question = {
            "id": str(row),
            "question": rng.choice(words),
            "answers": [answer],
        }
        paragraphs.append({"context": " ".join(context), "qas": [question]})
    content = {"data": [{"title": "", "paragraphs": paragraphs}]}
    path = folder / "train.json"
    path.write_text(json.dumps(content))
    return {
        "task.train_data.input_path": str(path),
        "task.doc_stride": 4,
        "task.max_query_length": 4,
    }


def _kind(module, defaults, head, data, labels=(), label_loss="cross_entropy"):
    return types.SimpleNamespace(
        run=module.run,
        defaults=defaults,
        head=head,
        data=data,
        labels=labels,
        label_loss=label_loss,
    )


_KINDS = {
    "classification": _kind(
        classification,
        classification_config.classification,
        model_directory.SEQUENCE_CLASSIFICATION,
        _classification_data,
        ("no", "yes"),
    ),
    "regression": _kind(
        classification,
        classification_config.classification,
        model_directory.SEQUENCE_CLASSIFICATION,
        _regression_data,
        ("label",),
        "squared_error",
    ),
    "tagging": _kind(
        tagging,
        tagging_config.tagging,
        model_directory.TOKEN_CLASSIFICATION,
        _tagging_data,
        ("O", "B-PER", "I-PER"),
    ),
    "multiple_choice": _kind(
        multiple_choice,
        multiple_choice_config.multiple_choice,
        model_directory.MULTIPLE_CHOICE,
        _choice_data,
    ),
    "question_answering": _kind(
        question_answering,
        question_answering_config.question_answering,
        model_directory.QUESTION_ANSWERING,
        _question_data,
    ),
}


def _save_teacher(folder, workspace, kind):
    """Writes a teacher as fine-tuning leaves it, with random weights."""
    network = config_lib.MobileBertConfig.from_json_file(workspace.teacher)
    info = model_directory.ModelInfo(
        head=kind.head, max_seq_length=_LENGTH, labels=kind.labels
    )
    model_directory.write(folder, network, info, workspace.vocab_file)
    model = model_directory.make_model(
        model_directory.without_dropout(network), info
    )
    model.build_weights()
    small_networks.randomize(model)
    tf.train.CheckpointManager(
        tf.train.Checkpoint(model=model), folder, 1, checkpoint_name="ckpt"
    ).save(checkpoint_number=1)


@pytest.fixture(scope="module", name="prepare")
def _prepare(workspace):
    """Returns a function of a kind's name: a teacher, and how to run."""
    made = {}

    def prepare(name):
        if name not in made:
            folder = workspace.folder / f"distilled_{name}"
            folder.mkdir()
            kind = _KINDS[name]
            teacher = str(folder / "teacher")
            _save_teacher(teacher, workspace, kind)
            made[name] = kind, teacher, kind.data(folder, workspace.words)
        kind, teacher, data = made[name]

        def run(model_dir, **distillation):
            given = {
                f"task.distillation.{key}": value
                for key, value in {
                    "teacher_dir": teacher,
                    **distillation,
                }.items()
            }
            params = experiment_builder.build(
                kind.defaults(),
                [],
                "",
                {
                    "task.model.bert_config_file": workspace.student,
                    "task.model.vocab_file": workspace.vocab_file,
                    "task.max_seq_length": _LENGTH,
                    "task.train_data.global_batch_size": 8,
                    "trainer.train_steps": _STEPS,
                    "trainer.steps_per_loop": 1,
                    "trainer.checkpoint_interval": 2,
                    "trainer.max_to_keep": 9,
                    **data,
                    **given,
                },
            )
            kind.run(params, str(model_dir), do_train=True, do_eval=False)

        return kind, teacher, run

    return prepare


def _variables(model_dir):
    """The newest checkpoint, by name."""
    checkpoint = model_directory.latest_checkpoint(str(model_dir))
    reader = tf.train.load_checkpoint(checkpoint)
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


def _assert_same(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


_FACTORS = {"ground_truth_ratio": 0.25, "feature_map_factor": 0.5}


@pytest.fixture(scope="module", name="distilled")
def _distilled(prepare, workspace):
    """Folder of a whole run of a classifier."""
    folder = workspace.folder / "distilled"
    prepare("classification")[2](folder, **_FACTORS)
    return folder


@pytest.fixture(scope="module", name="plain")
def _plain(prepare, workspace):
    """Folder of the same run without a teacher."""
    folder = workspace.folder / "plain"
    prepare("classification")[2](folder, teacher_dir="")
    return folder


def _assert_shared_loss(folder, label_loss):
    rows = training_log.read_metrics(str(folder))
    assert len(rows) == _STEPS
    for row in rows:
        terms = {
            name: row[name]
            for name in (label_loss, "distillation_loss", "feature_map_loss")
        }
        assert min(terms.values()) > 0
        expected = np.dot([0.25, 0.75, 0.5], list(terms.values()))
        assert row["training_loss"] == pytest.approx(expected, rel=1e-4)


def test_the_loss_is_shared_between_labels_and_teacher(distilled):
    _assert_shared_loss(distilled, "cross_entropy")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*_KINDS} - {"classification"}))
def test_every_kind_of_task_can_be_taught(prepare, tmp_path, name):
    kind, _, run = prepare(name)
    run(tmp_path, **_FACTORS)
    _assert_shared_loss(tmp_path, kind.label_loss)


def test_checkpoints_hold_nothing_of_the_teacher(distilled, plain):
    assert _variables(distilled).keys() == _variables(plain).keys()


def _stop_at(folder, step):
    """Leaves a folder as a kill after the checkpoint of `step` would."""
    for path in folder.glob(f"ckpt-{_STEPS}.*"):
        path.unlink()
    state = "".join(
        f'{key}: "ckpt-{step}"\n'
        for key in ("model_checkpoint_path", "all_model_checkpoint_paths")
    )
    (folder / "checkpoint").write_text(state)


@pytest.mark.slow
def test_a_run_goes_on_to_the_same_weights_with_a_moved_teacher(
    prepare, distilled, tmp_path
):
    _, teacher, run = prepare("classification")
    folder, moved = tmp_path / "run", tmp_path / "moved"
    shutil.copytree(distilled, folder)
    shutil.copytree(teacher, moved)
    _stop_at(folder, 2)
    run(folder, **_FACTORS, teacher_dir=str(moved))
    _assert_same(_variables(folder), _variables(distilled))


@pytest.mark.parametrize(
    "changed, key",
    [
        ({**_FACTORS, "ground_truth_ratio": 0.5}, "ground_truth_ratio"),
        ({**_FACTORS, "feature_map_factor": 1.0}, "feature_map_factor"),
        ({**_FACTORS, "temperature": 2.0}, "temperature"),
    ],
)
def test_a_run_does_not_go_on_with_another_loss(
    prepare, distilled, changed, key
):
    _, _, run = prepare("classification")
    with pytest.raises(ValueError, match=f"task.distillation.{key} is"):
        run(distilled, **changed)


def test_a_plain_run_does_not_go_on_with_a_teacher(prepare, plain):
    _, _, run = prepare("classification")
    with pytest.raises(ValueError, match="task.distillation.teacher_dir is ''"):
        run(plain)


def test_labels_alone_are_plain_fine_tuning(prepare, plain, tmp_path):
    _, _, run = prepare("classification")
    run(tmp_path, ground_truth_ratio=1.0)
    _assert_same(_variables(tmp_path), _variables(plain))


def test_mistakes_show_before_anything_is_written(prepare, tmp_path):
    _, _, run = prepare("classification")
    folder = tmp_path / "run"
    for values, message in (
        ({"ground_truth_ratio": 2.0}, "ground_truth_ratio: expected 0 to 1"),
        ({"teacher_dir": "", "temperature": 2.0}, "needs a teacher"),
        ({"teacher_dir": str(tmp_path)}, "not a model folder"),
    ):
        with pytest.raises(ValueError, match=message):
            run(folder, **values)
        assert not os.path.exists(folder / "params.yaml")
