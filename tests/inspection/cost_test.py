"""Parameters and MACs against Keras, traced graphs and published figures."""

import functools
import math

import inspected_networks
import pytest
import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf.inspection import cost
from mobilebert_tf.modeling import config as config_lib

_LENGTH = 7


@functools.cache
def _make(name, head):
    """A built model; the tests share it."""
    labels = ("a", "b", "c")
    info = model_directory.ModelInfo(
        head=head,
        max_seq_length=_LENGTH,
        labels=labels if head in model_directory.LABELLED_HEADS else (),
    )
    model = model_directory.make_model(inspected_networks.CONFIGS[name], info)
    model.build_weights()
    return model


@pytest.mark.parametrize("name", inspected_networks.CONFIGS)
def test_parameters_of_every_structure(name):
    config = inspected_networks.CONFIGS[name]
    model = _make(name, model_directory.PRETRAINING)
    costs = cost.of_config(config, _LENGTH)
    encoder = model.encoder

    def count(layer):
        return sum(math.prod(w.shape) for w in layer.trainable_weights)

    assert cost.total(costs.embeddings).parameters == count(encoder.embeddings)
    assert cost.total(costs.block).parameters == count(encoder.blocks[0])
    assert costs.num_blocks == len(encoder.blocks)
    encoder_parts = costs.backbone + costs.pooler
    assert cost.total(encoder_parts).parameters == count(encoder)
    assert [part.parameters for part in costs.heads] == [
        count(model.masked_lm),
        count(model.next_sentence),
    ]
    assert cost.total(costs.network).parameters == count(model)


@pytest.mark.parametrize("head", model_directory.HEADS)
@pytest.mark.parametrize("name", ["mobilebert", "teacher"])
def test_parameters_of_every_head(name, head):
    config = inspected_networks.CONFIGS[name]
    model = _make(name, head)
    network = cost.of_config(config, _LENGTH, head, num_labels=3).network
    shapes = sorted(shape for part in network for shape in part.shapes)
    assert shapes == sorted(
        tuple(weight.shape) for weight in model.trainable_weights
    )


@pytest.mark.parametrize("head", model_directory.HEADS)
def test_macs_of_every_head(head):
    _check_macs("teacher", head)


@pytest.mark.parametrize("name", inspected_networks.CONFIGS)
def test_macs_of_every_structure(name):
    _check_macs(name, model_directory.PRETRAINING)


def _check_macs(name, head):
    config = inspected_networks.CONFIGS[name]
    model = _make(name, head)
    shape = [1, _LENGTH]
    if head == model_directory.MULTIPLE_CHOICE:
        shape = [1, 1, _LENGTH]
    function = tf.function(
        lambda ids: model({"input_word_ids": ids}, training=False)
    ).get_concrete_function(tf.TensorSpec(shape, tf.int32))
    costs = cost.of_config(config, _LENGTH, head, num_labels=3)
    flops = _product_flops(function.graph)
    assert 2 * cost.total(costs.network).macs == flops


def _product_flops(graph):
    """What TensorFlow's profiler counts for products, 2 per MAC.

    It knows no einsum, of which there is one: the masked-LM logits.
    """
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    node = tf.compat.v1.profiler.profile(graph, cmd="op", options=options)
    flops = 0
    while node.children:
        (node,) = node.children
        if node.name in ("MatMul", "BatchMatMulV2"):
            flops += node.float_ops
    for op in graph.get_operations():
        if op.type == "Einsum":
            assert op.get_attr("equation") == b"bph,vh->bpv"
            width = op.inputs[0].shape[-1]
            flops += 2 * math.prod(op.outputs[0].shape) * width
    return flops


@pytest.mark.parametrize(
    "name, backbone, per_block, total",
    [
        ("mobilebert", 24_581_888, 842_240, 36_597_564),
        ("mobilebert_without_opt", 24_581_888, 842_240, 36_597_564),
        ("mobilebert_tiny", 15_485_696, 463_232, 27_501_372),
        ("ib_bert_large", 294_205_184, 12_076_544, 306_483_516),
    ],
)
def test_published_parameters(name, backbone, per_block, total):
    costs = cost.of_config(config_lib.preset(name), 128)
    assert cost.total(costs.embeddings).parameters == 4_368_128
    assert cost.total(costs.block).parameters == per_block
    assert cost.total(costs.backbone).parameters == backbone
    assert cost.total(costs.backbone).float32_bytes == 4 * backbone
    assert cost.total(costs.network).parameters == total


def test_released_parts():
    costs = cost.of_config(config_lib.mobilebert(), 128)
    assert {part.name: part.parameters for part in costs.block} == {
        "input bottleneck": 65_920,
        "key-query bottleneck": 65_920,
        "query, key, value": 98_688,
        "attention products": 0,
        "attention output": 16_768,
        **{f"feed-forward {k}": 131_968 for k in range(4)},
        "output bottleneck": 67_072,
    }
    assert {part.name: part.parameters for part in costs.heads} == {
        "masked_lm": 263_680 + 11_720_448 + 30_522,
        "next_sentence": 1_026,
    }


@pytest.mark.parametrize(
    "name, seq_length, gflops",
    [
        ("mobilebert", 128, 5.39),
        ("mobilebert_tiny", 128, 3.07),
        ("ib_bert_large", 128, 75.7),
        ("mobilebert", 384, 17.4),
        ("mobilebert_tiny", 384, 10.4),
        ("ib_bert_large", 384, 237),
    ],
)
def test_published_flops(name, seq_length, gflops):
    costs = cost.of_config(config_lib.preset(name), seq_length)
    flops = 2 * cost.total(costs.backbone).macs
    assert flops / 1e9 == pytest.approx(gflops, rel=4e-3)


@pytest.mark.parametrize(
    "seq_length, macs", [(128, 2.693e9), (384, 8.682e9), (512, 11.98e9)]
)
def test_released_macs(seq_length, macs):
    """By hand: kernels at every position, and two products of attention."""
    bottlenecks = 3 * 512 * 128
    attention = 3 * 128 * 128 + 512 * 128
    kernels = bottlenecks + attention + 4 * 2 * 128 * 512
    products = 2 * seq_length**2 * 128
    expected = 24 * (seq_length * kernels + products)
    expected += seq_length * 384 * 512
    costs = cost.of_config(config_lib.mobilebert(), seq_length)
    assert cost.total(costs.backbone).macs == expected
    assert expected == pytest.approx(macs, rel=1e-3)


def test_separate_query_and_key_make_the_papers_figures():
    """25.3M parameters and 5.7B FLOPs, of which 5.59 are products."""
    config = config_lib.mobilebert(key_query_shared_bottleneck=False)
    total = cost.total(cost.of_config(config, 128).backbone)
    assert total.parameters == 25_359_104
    assert 2 * total.macs / 1e9 == pytest.approx(5.59, abs=0.005)


def test_bert_base():
    """BERT_BASE: 110M parameters (109,482,240), 22.5B FLOPs."""
    config = config_lib.MobileBertConfig(type_vocab_size=2)
    costs = cost.of_config(config, 128, model_directory.ENCODER)
    total = cost.total(costs.network)
    assert total.parameters == 109_482_240
    assert 2 * total.macs / 1e9 == pytest.approx(22.5, rel=0.01)


def test_largest_tensor():
    costs = cost.of_config(config_lib.mobilebert(), 128)
    assert cost.largest_tensor(costs.backbone) == ("word table", (30522, 128))
    assert cost.largest_tensor(costs.network) == ("masked_lm", (30522, 384))


def test_int8_keeps_vectors_in_float32():
    part = cost.Part("", ((10, 3), (3,)))
    assert part.parameters == 33
    assert part.int8_bytes == 30 + 3 * 4
    assert cost.total([part, part]).int8_bytes == 84


def test_errors():
    config = config_lib.micro()
    with pytest.raises(
        ValueError,
        match="seq_length: .* 1 to max_position_embeddings=128, got 129",
    ):
        cost.of_config(config, 129)
    with pytest.raises(ValueError, match="head: .*, got 'squad'"):
        cost.of_config(config, 128, "squad")
