"""The map's names and shapes against the published scopes, written out."""

import networks
import numpy as np
import pytest

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import names
from mobilebert_tf.checkpoints import weight as weight_lib
from mobilebert_tf.modeling import config as config_lib

_LAYER = """
attention/output/FakeLayerNorm/beta 128
attention/output/FakeLayerNorm/gamma 128
attention/output/dense/bias 128
attention/output/dense/kernel 128 128
attention/self/key/bias 128
attention/self/key/kernel 128 128
attention/self/query/bias 128
attention/self/query/kernel 128 128
attention/self/value/bias 128
attention/self/value/kernel 512 128
bottleneck/attention/FakeLayerNorm/beta 128
bottleneck/attention/FakeLayerNorm/gamma 128
bottleneck/attention/dense/bias 128
bottleneck/attention/dense/kernel 512 128
bottleneck/input/FakeLayerNorm/beta 128
bottleneck/input/FakeLayerNorm/gamma 128
bottleneck/input/dense/bias 128
bottleneck/input/dense/kernel 512 128
ffn_layer_0/intermediate/dense/bias 512
ffn_layer_0/intermediate/dense/kernel 128 512
ffn_layer_0/output/FakeLayerNorm/beta 128
ffn_layer_0/output/FakeLayerNorm/gamma 128
ffn_layer_0/output/dense/bias 128
ffn_layer_0/output/dense/kernel 512 128
ffn_layer_1/intermediate/dense/bias 512
ffn_layer_1/intermediate/dense/kernel 128 512
ffn_layer_1/output/FakeLayerNorm/beta 128
ffn_layer_1/output/FakeLayerNorm/gamma 128
ffn_layer_1/output/dense/bias 128
ffn_layer_1/output/dense/kernel 512 128
ffn_layer_2/intermediate/dense/bias 512
ffn_layer_2/intermediate/dense/kernel 128 512
ffn_layer_2/output/FakeLayerNorm/beta 128
ffn_layer_2/output/FakeLayerNorm/gamma 128
ffn_layer_2/output/dense/bias 128
ffn_layer_2/output/dense/kernel 512 128
intermediate/dense/bias 512
intermediate/dense/kernel 128 512
output/FakeLayerNorm/beta 128
output/FakeLayerNorm/gamma 128
output/bottleneck/FakeLayerNorm/beta 512
output/bottleneck/FakeLayerNorm/gamma 512
output/bottleneck/dense/bias 512
output/bottleneck/dense/kernel 128 512
output/dense/bias 128
output/dense/kernel 512 128
"""
_REST = """
bert/embeddings/FakeLayerNorm/beta 512
bert/embeddings/FakeLayerNorm/gamma 512
bert/embeddings/embedding_transformation/bias 512
bert/embeddings/embedding_transformation/kernel 384 512
bert/embeddings/position_embeddings 512 512
bert/embeddings/token_type_embeddings 2 512
bert/embeddings/word_embeddings 30522 128
cls/predictions/extra_output_weights 30522 384
cls/predictions/output_bias 30522
cls/predictions/transform/LayerNorm/beta 512
cls/predictions/transform/LayerNorm/gamma 512
cls/predictions/transform/dense/bias 512
cls/predictions/transform/dense/kernel 512 512
cls/seq_relationship/output_bias 2
cls/seq_relationship/output_weights 2 512
"""


def _parse(text, prefix=""):
    lines = [line.split() for line in text.strip().splitlines()]
    return {prefix + name: tuple(map(int, shape)) for name, *shape in lines}


def _shapes(config, head, num_labels=0):
    return {
        weight.name: weight.shape
        for weight in names.list_weights(config, head, num_labels)
    }


def test_released_checkpoint():
    expected = _parse(_REST)
    for index in range(24):
        expected |= _parse(_LAYER, f"bert/encoder/layer_{index}/")
    actual = _shapes(config_lib.mobilebert(), "pretraining")
    assert actual == expected
    assert len(actual) == 1119


def test_teacher():
    """LayerNorm, one feed-forward network, attention on the block input."""
    actual = _shapes(config_lib.ib_bert_large(), "masked_lm")
    layer = "bert/encoder/layer_23/"
    assert {
        name.removeprefix(layer): shape
        for name, shape in actual.items()
        if name.startswith(layer)
    } == {
        **{
            f"attention/self/{name}/kernel": (512, 1024)
            for name in ("query", "key", "value")
        },
        **{
            f"{name}/bias": (1024,)
            for name in (
                "attention/self/query",
                "attention/self/key",
                "attention/self/value",
                "attention/output/dense",
                "bottleneck/input/dense",
                "output/dense",
            )
        },
        **{
            f"{scope}/LayerNorm/{name}": (width,)
            for scope, width in (
                ("attention/output", 1024),
                ("bottleneck/input", 1024),
                ("output", 1024),
                ("output/bottleneck", 512),
            )
            for name in ("gamma", "beta")
        },
        "attention/output/dense/kernel": (1024, 1024),
        "bottleneck/input/dense/kernel": (512, 1024),
        "intermediate/dense/kernel": (1024, 4096),
        "intermediate/dense/bias": (4096,),
        "output/dense/kernel": (4096, 1024),
        "output/bottleneck/dense/kernel": (1024, 512),
        "output/bottleneck/dense/bias": (512,),
    }
    assert "bert/pooler/dense/kernel" not in actual
    encoder = _shapes(config_lib.ib_bert_large(), "encoder")
    assert encoder["bert/pooler/dense/kernel"] == (512, 512)
    assert encoder["bert/pooler/dense/bias"] == (512,)


def test_tiny_reads_values_in_the_bottleneck():
    actual = _shapes(config_lib.mobilebert_tiny(), "encoder")
    assert actual["bert/encoder/layer_0/attention/self/value/kernel"] == (
        128,
        128,
    )
    assert not [name for name in actual if "bottleneck/attention" in name]
    assert not [name for name in actual if "ffn_layer_1" in name]


def test_fine_tuned_heads_have_the_published_names():
    config = config_lib.mobilebert()
    backbone = _shapes(config, "encoder")
    for head, labels, expected in (
        (
            "question_answering",
            0,
            {
                "cls/squad/output_weights": (2, 512),
                "cls/squad/output_bias": (2,),
            },
        ),
        (
            "sequence_classification",
            5,
            {"output_weights": (5, 512), "output_bias": (5,)},
        ),
        ("sentence_embedding", 0, {}),
    ):
        assert _shapes(config, head, labels) == {**backbone, **expected}


@pytest.mark.parametrize("network", networks.CONFIGS)
@pytest.mark.parametrize("head", model_directory.HEADS)
def test_no_two_weights_share_a_place(head, network):
    weights = names.list_weights(networks.CONFIGS[network], head, 3)
    for name in weight_lib.FORMATS:
        keys = [w.places[name].key for w in weights if name in w.places]
        assert len(set(keys)) == len(keys)
    for weight in weights:
        for place in weight.places.values():
            value = networks.make_value(
                weight.name, weight.shape, np.random.default_rng(0)
            )
            stored = place.encode(value)
            assert stored.shape == place.shape
            assert (place.decode(stored, weight.shape) == value).all()
