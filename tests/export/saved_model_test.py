"""A SavedModel serves what the Keras model gives, for any batch and length."""

import numpy as np
import pytest
import small_models
import tensorflow as tf

from export import inference_graph
from export import saved_model
from mobilebert_tf.modeling import models

CONFIG = small_models.CONFIGS["mobilebert"]


def _serve(folder, inputs):
    loaded = tf.saved_model.load(str(folder))
    outputs = loaded.signatures[inference_graph.SIGNATURE](
        **{name: tf.constant(ids) for name, ids in inputs.items()}
    )
    return {name: values.numpy() for name, values in outputs.items()}


_OTHERS = ("regression", "token_classification", "embedding_mean", "encoder")


@pytest.mark.parametrize(
    "head",
    [
        "classification",
        "question_answering",
        *(pytest.param(head, marks=pytest.mark.slow) for head in _OTHERS),
    ],
)
def test_signature_gives_keras_outputs(head, tmp_path):
    model = small_models.MAKERS[head](CONFIG)
    saved_model.write(model, str(tmp_path / "saved"))
    inputs = small_models.make_inputs(CONFIG, count=3, length=11)
    outputs = _serve(tmp_path / "saved", inputs)
    expected = small_models.keras_outputs(model, inputs)
    if head == "classification":
        expected["logits"] = model(inputs)["logits"].numpy()
    assert outputs.keys() == expected.keys()
    for name, values in expected.items():
        assert outputs[name].dtype == np.float32
        small_models.assert_close(outputs[name], values)


def test_all_choices_at_once(tmp_path):
    model = small_models.MAKERS["multiple_choice"](CONFIG)
    saved_model.write(model, str(tmp_path / "saved"))
    inputs = {
        name: ids.reshape(2, 3, -1)
        for name, ids in small_models.make_inputs(CONFIG, count=6).items()
    }
    logits = _serve(tmp_path / "saved", inputs)["logits"]
    assert logits.shape == (2, 3)
    small_models.assert_close(logits, model(inputs)["logits"].numpy())


def test_replaces_what_is_there_and_leaves_nothing_else(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "stale").write_text("of an earlier run")
    saved_model.write(small_models.make_classifier(CONFIG), str(folder))
    assert not (folder / "stale").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_failure_leaves_what_was_there(tmp_path, monkeypatch):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "old").write_text("of an earlier run")

    def fail(module, path, signatures):
        (tmp_path / path / "half").write_text("")
        raise OSError("disk full")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        saved_model.write(small_models.make_classifier(CONFIG), str(folder))
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_pretraining_model_is_refused(tmp_path):
    model = models.MobileBertForPreTraining(CONFIG)
    model.build_weights()
    with pytest.raises(ValueError, match="got MobileBertForPreTraining"):
        saved_model.write(model, str(tmp_path / "saved"))
    assert not list(tmp_path.iterdir())
