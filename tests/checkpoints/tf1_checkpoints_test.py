"""TF1 checkpoints as TensorFlow 1's own Saver writes them."""

import dataclasses
import json
import os

import networks
import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.checkpoints import names

_CONFIG = networks.SHALLOW
_POOLER = dataclasses.replace(networks.CONFIGS["pooler"], num_hidden_layers=1)


def _train_and_save(folder, values, config=_CONFIG):
    """Writes `values` as variables of a graph, with a Saver."""
    path = networks.save_tf1(folder, {"replaced": np.zeros(1)}, config)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = [
            tf.compat.v1.get_variable(key, initializer=value)
            for key, value in values.items()
        ]
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(variables).save(
            session,
            str(folder / "mobilebert_variables.ckpt"),
            write_meta_graph=False,
            write_state=False,
        )
    return path


def _values(config=_CONFIG, head="pretraining", prefix="", **kwargs):
    checkpoint = networks.make_checkpoint(config, head, **kwargs)
    return {prefix + name: v for name, v in checkpoint.values.items()}


@pytest.mark.parametrize(
    "head",
    [
        "encoder",
        "pretraining",
        "masked_lm",
        "next_sentence",
        "sequence_classification",
        "question_answering",
    ],
)
def test_head_is_inferred(head, tmp_path):
    values = _values(head=head)
    checkpoint = conversion.read(
        _train_and_save(tmp_path / "a", values), "auto"
    )
    assert checkpoint.head == head
    networks.assert_same_values(checkpoint.values, values)
    assert checkpoint.config == _CONFIG
    assert checkpoint.vocabulary == networks.VOCABULARY
    assert checkpoint.lower_case
    assert checkpoint.accounting.ignored == {}
    assert len(checkpoint.accounting.loaded) == len(values)


def _training_variables(values):
    slots = {
        f"{name}/{slot}": np.zeros_like(value)
        for name, value in values.items()
        for slot in ("adam_m", "adam_v")
        if name.startswith("cls/")
    }
    return {**slots, "global_step": np.int64(7)}


def test_distillation_checkpoint(tmp_path):
    """A student, its teacher, optimizer slots and distillation norms."""
    student = _values()
    teacher_config = dataclasses.replace(
        networks.CONFIGS["teacher"], num_hidden_layers=1
    )
    teacher = _values(teacher_config, "masked_lm", "teacher/", seed=1)
    pooler = {
        "teacher/bert/pooler/dense/kernel": np.eye(24, dtype=np.float32),
        "teacher/bert/pooler/dense/bias": np.ones([24], np.float32),
    }
    norms = {
        f"hidden_distill_{i}/LayerNorm{suffix}/{name}": np.ones(24, "f")
        for i in range(2)
        for suffix in ("", "_1")
        for name in ("gamma", "beta")
    }
    path = _train_and_save(
        tmp_path / "a",
        {
            **student,
            **teacher,
            **pooler,
            **norms,
            **_training_variables(student),
        },
    )
    checkpoint = conversion.read(path)
    networks.assert_same_values(checkpoint.values, student)
    ignored = checkpoint.accounting.ignored
    assert {kind: len(members) for kind, members in ignored.items()} == {
        "distillation norms": 8,
        "optimizer slots": 16,
        "step counters": 1,
        "teacher": len(teacher) + 2,
    }

    config_file = tmp_path / "teacher.json"
    teacher_config.to_json_file(str(config_file))
    options = dict(config_file=str(config_file), scope="teacher")
    checkpoint = conversion.read(path, **options)
    assert checkpoint.head == "masked_lm"
    assert checkpoint.config == teacher_config
    expected = {
        name.removeprefix("teacher/"): value for name, value in teacher.items()
    }
    networks.assert_same_values(checkpoint.values, expected)
    ignored = checkpoint.accounting.ignored
    assert len(ignored["not part of the head masked_lm"]) == 2
    assert len(ignored["outside of teacher/"]) == len(student)

    encoder = conversion.read(path, head="encoder", **options)
    np.testing.assert_array_equal(
        encoder.values["bert/pooler/dense/bias"], np.ones([24])
    )
    assert not encoder.accounting.initialised


def _fake_quantisation():
    scope = "bert/encoder/layer_0"
    return {
        f"{scope}/{name}/{end}": np.float32(1.0)
        for name in (
            "attention/self/MobileBertActFakeQuantWithMinMaxVars",
            "attention/self/MobileBertActFakeQuantWithMinMaxVars_1",
            "output/dense/MobileBertWeightFakeQuantWithMinMaxVars",
        )
        for end in ("min", "max")
    }


@pytest.mark.parametrize("mask", ["additive", "multiplicative"])
def test_quantisation_aware_checkpoint(mask, tmp_path):
    config = dataclasses.replace(
        _CONFIG, attention_mask_type=mask, hidden_act="relu6"
    )
    values = _values(config)
    path = _train_and_save(
        tmp_path / "a", {**values, **_fake_quantisation()}, config
    )
    checkpoint = conversion.read(path)
    networks.assert_same_values(checkpoint.values, values)
    (kind,) = checkpoint.accounting.ignored
    assert kind == "fake-quantisation ranges"
    notes = checkpoint.accounting.notes
    assert len(notes) == (1 if mask == "additive" else 0)
    assert all('attention_mask_type "multiplicative"' in n for n in notes)


def test_config_and_vocabulary_from_elsewhere(tmp_path):
    folder = networks.save_tf1(tmp_path / "a", _values())
    for name in ("bert_config.json", "vocab.txt"):
        os.rename(os.path.join(folder, name), tmp_path / name)
    with pytest.raises(ValueError, match="no bert_config.json beside it; give"):
        conversion.read(folder)
    config_file = str(tmp_path / "bert_config.json")
    checkpoint = conversion.read(folder, config_file=config_file)
    assert checkpoint.vocabulary is None
    with pytest.raises(ValueError, match="needs a vocabulary, none is known"):
        conversion.write(checkpoint, str(tmp_path / "own"), "mobilebert_tf")
    checkpoint = conversion.read(
        folder,
        config_file=config_file,
        vocab_file=str(tmp_path / "vocab.txt"),
        lower_case=False,
    )
    conversion.write(checkpoint, str(tmp_path / "own"), "mobilebert_tf")
    info = json.loads((tmp_path / "own" / "model_info.json").read_text())
    assert info["lower_case"] is False


def test_several_checkpoints_are_listed(tmp_path):
    values = _values()
    folder = networks.save_tf1(tmp_path / "a", values, name="model.ckpt-0")
    networks.save_tf1(tmp_path / "a", values, name="model.ckpt-9")
    with pytest.raises(
        ValueError, match="several .* model.ckpt-0, model.ckpt-9"
    ):
        conversion.read(folder, "tf1")
    prefix = os.path.join(folder, "model.ckpt-9")
    networks.assert_same_values(conversion.read(prefix).values, values)
    with pytest.raises(ValueError, match="its folder has model.ckpt-0, model"):
        conversion.read(os.path.join(folder, "mobilebert.ckpt"), "tf1")


def _name_newest(folder, name):
    """Writes the file `checkpoint` as the official fine-tuning does."""
    with open(os.path.join(folder, "checkpoint"), "w") as stream:
        stream.write(f'model_checkpoint_path: "{name}"\n')


@pytest.mark.parametrize("written", ["", "/gone/runs/sst2/"])
def test_newest_of_several_is_taken(written, tmp_path):
    """Wherever the run wrote its files: the folder may have been moved."""
    values = {n: _values(seed=n) for n in (0, 9, 10)}
    for n, tensors in values.items():
        folder = networks.save_tf1(
            tmp_path / "a", tensors, name=f"model.ckpt-{n}"
        )
    _name_newest(folder, f"{written}model.ckpt-9")
    for path in (folder, networks.pack(folder, tmp_path / "a.tar.gz")):
        networks.assert_same_values(conversion.read(path).values, values[9])
    _name_newest(folder, "model.ckpt-11")
    with pytest.raises(ValueError, match="several checkpoints, give one"):
        conversion.read(folder)


@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
def test_files_of_a_checkpoint_as_input(ending, tmp_path):
    values = _values()
    folder = networks.save_tf1(tmp_path / "a", values)
    path = os.path.join(folder, f"mobilebert_variables.ckpt.{ending}")
    networks.assert_same_values(conversion.read(path).values, values)
    with pytest.raises(ValueError, match=f"--input={folder}/b.{ending}: no ch"):
        conversion.read(os.path.join(folder, f"b.{ending}"))


def test_folder_that_is_called_as_an_archive(tmp_path):
    values = _values()
    path = networks.save_tf1(tmp_path / "released.tar.gz", values)
    networks.assert_same_values(conversion.read(path).values, values)


def test_written_files_are_the_published_ones(tmp_path):
    """Names, shapes and values as TensorFlow lists them; nothing else."""
    checkpoint = networks.make_checkpoint(_CONFIG, "pretraining")
    conversion.write(checkpoint, str(tmp_path / "out"), "tf1")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "bert_config.json",
        "conversion.json",
        "mobilebert_variables.ckpt.data-00000-of-00001",
        "mobilebert_variables.ckpt.index",
        "vocab.txt",
    ]
    prefix = str(tmp_path / "out" / "mobilebert_variables.ckpt")
    assert dict(tf.train.list_variables(prefix)) == {
        weight.name: list(weight.shape)
        for weight in names.list_weights(_CONFIG, "pretraining")
    }
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = {
            name: tf.compat.v1.get_variable(name, shape)
            for name, shape in tf.train.list_variables(prefix)
        }
        tf.compat.v1.train.Saver().restore(session, prefix)
        networks.assert_same_values(session.run(variables), checkpoint.values)


class TestAskedForHeads:
    """--head takes what there is and draws what there is not."""

    def test_less_than_there_is(self, tmp_path):
        values = _values()
        path = networks.save_tf1(tmp_path / "a", values)
        checkpoint = conversion.read(path, head="masked_lm")
        assert checkpoint.accounting.ignored == {
            "not part of the head masked_lm": (
                "cls/seq_relationship/output_bias",
                "cls/seq_relationship/output_weights",
            )
        }
        assert set(values) - set(checkpoint.values) == {
            "cls/seq_relationship/output_bias",
            "cls/seq_relationship/output_weights",
        }

    def test_another(self, tmp_path):
        path = networks.save_tf1(tmp_path / "a", _values())
        labels = ("a", "b", "c", "d", "e")
        read = [
            conversion.read(path, head="token_classification", labels=labels)
            for _ in range(2)
        ]
        assert read[0].labels == labels
        assert read[0].accounting.initialised == (
            "token_classification/output_weights",
            "token_classification/output_bias",
        )
        weights = read[0].values["token_classification/output_weights"]
        assert weights.shape == (5, 24)
        assert 0.0 < np.abs(weights).max() <= 2 * _CONFIG.initializer_range
        assert 0.5 < weights.std() / _CONFIG.initializer_range < 1.0
        networks.assert_same_values(read[0].values, read[1].values)
        assert not read[0].values["token_classification/output_bias"].any()

    def test_pooler_that_the_source_lacks(self, tmp_path):
        config = _POOLER
        path = networks.save_tf1(
            tmp_path / "a", _values(config, "masked_lm"), config
        )
        checkpoint = conversion.read(path, head="next_sentence")
        assert checkpoint.accounting.initialised == (
            "bert/pooler/dense/kernel",
            "bert/pooler/dense/bias",
            "cls/seq_relationship/output_weights",
            "cls/seq_relationship/output_bias",
        )

    def test_default_and_given_label_names(self, tmp_path):
        values = _values(head="sequence_classification")
        path = networks.save_tf1(tmp_path / "a", values)
        assert conversion.read(path).labels == ("LABEL_0", "LABEL_1", "LABEL_2")
        labels = ("no", "maybe", "yes")
        assert conversion.read(path, labels=labels).labels == labels
        with pytest.raises(ValueError, match="--labels: got 2 names, .* 3 out"):
            conversion.read(path, labels=("no", "yes"))
        with pytest.raises(ValueError, match="encoder has no labels"):
            conversion.read(path, head="encoder", labels=labels)


class TestWrongVariables:
    """The config must describe the encoder, whole."""

    def _read(self, tmp_path, values, config=_CONFIG):
        return conversion.read(
            networks.save_tf1(tmp_path / "a", values, config)
        )

    def test_missing(self, tmp_path):
        values = _values()
        del values["bert/encoder/layer_0/attention/self/key/bias"]
        with pytest.raises(
            ValueError, match="layer_0/attention/self/key/bias is missing, "
            r"expected shape \[12\]"
        ):  # fmt: skip
            self._read(tmp_path, values)

    def test_wrong_shape(self, tmp_path):
        values = _values()
        values["bert/embeddings/token_type_embeddings"] = np.ones([3, 24], "f")
        with pytest.raises(
            ValueError, match=r"token_type_embeddings has shape \[3, 24\], "
            r"expected \[2, 24\]"
        ):  # fmt: skip
            self._read(tmp_path, values)

    def test_extra_layer(self, tmp_path):
        deeper = dataclasses.replace(_CONFIG, num_hidden_layers=2)
        with pytest.raises(
            ValueError, match="bert/encoder/layer_1/.* is no weight of the net"
        ):
            self._read(tmp_path, _values(deeper))

    def test_wrong_norm(self, tmp_path):
        config = dataclasses.replace(_CONFIG, normalization_type="layer_norm")
        with pytest.raises(
            ValueError, match="embeddings/LayerNorm/gamma is missing, .* config"
        ):
            self._read(tmp_path, _values(), config)

    def test_pooler_that_the_config_denies(self, tmp_path):
        config = _POOLER
        denied = dataclasses.replace(config, classifier_activation=False)
        with pytest.raises(ValueError, match="bert/pooler/dense/bias is no we"):
            self._read(tmp_path, _values(config, "encoder"), denied)

    def test_pooler_that_the_config_promises(self, tmp_path):
        config = dataclasses.replace(_CONFIG, classifier_activation=True)
        with pytest.raises(
            ValueError,
            match="pooler/dense/kernel is missing.*its classifier_activation",
        ):
            self._read(tmp_path, _values(), config)

    def test_incomplete_head(self, tmp_path):
        values = _values()
        del values["cls/predictions/output_bias"]
        with pytest.raises(ValueError, match="output_bias is missing"):
            self._read(tmp_path, values)

    def test_unknown_variables_are_told(self, tmp_path):
        values = {**_values(), "my_layer/kernel": np.ones([2, 2], "f")}
        checkpoint = self._read(tmp_path, values)
        assert checkpoint.accounting.ignored == {
            "unknown": ("my_layer/kernel",)
        }

    def test_integers_are_no_weights(self, tmp_path):
        values = _values()
        name = "bert/embeddings/token_type_embeddings"
        values[name] = np.ones([2, 24], np.int32)
        with pytest.raises(ValueError, match=f"{name} .* int32"):
            self._read(tmp_path, values)
