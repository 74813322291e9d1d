"""Small networks, of odd sizes, that Hugging Face can represent.

Its query and key read vectors as wide as the block's inside, so that
separate attention (no shared key-query bottleneck, none for attention) needs
intra_bottleneck_size equal to hidden_size, and the teacher cannot be had:
tests/modeling/garden_parity_test.py compares it with the Model Garden.
"""

import dataclasses

import numpy as np
import small_networks

from mobilebert_tf.modeling import config as config_lib

_SIZES = dict(
    vocab_size=43,
    hidden_size=22,
    embedding_size=9,
    intra_bottleneck_size=15,
    num_hidden_layers=3,
    num_attention_heads=3,
    intermediate_size=19,
)
_MOBILEBERT = config_lib.mobilebert(**_SIZES)
_WITHOUT_OPT = config_lib.mobilebert_without_opt(**_SIZES)
_PLAIN_BERT = config_lib.MobileBertConfig(
    vocab_size=43,
    hidden_size=21,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=19,
    type_vocab_size=3,
)

CONFIGS = {
    "mobilebert": _MOBILEBERT,
    "tiny": config_lib.mobilebert_tiny(**_SIZES),
    "without_opt": _WITHOUT_OPT,
    "exact_gelu": dataclasses.replace(_WITHOUT_OPT, hidden_act="gelu_erf"),
    "relu6": dataclasses.replace(_MOBILEBERT, hidden_act="relu6"),
    "tanh_pooler": dataclasses.replace(_MOBILEBERT, classifier_activation=True),
    "no_trigram": dataclasses.replace(_MOBILEBERT, trigram_input=False),
    "one_network": dataclasses.replace(_MOBILEBERT, num_feedforward_networks=1),
    "two_networks": dataclasses.replace(
        _WITHOUT_OPT, num_feedforward_networks=2
    ),
    "three_networks": dataclasses.replace(
        _MOBILEBERT, num_feedforward_networks=3
    ),
    "separate_attention": dataclasses.replace(
        _MOBILEBERT,
        key_query_shared_bottleneck=False,
        intra_bottleneck_size=22,
        num_attention_heads=2,
    ),
    "wide_table": dataclasses.replace(_MOBILEBERT, embedding_size=22),
    "plain_bert": _PLAIN_BERT,
    "plain_bert_trigram": dataclasses.replace(
        _PLAIN_BERT,
        trigram_input=True,
        embedding_size=8,
        normalization_type="no_norm",
        num_feedforward_networks=3,
        classifier_activation=False,
    ),
}


def randomize(model, seed: int = 0) -> None:
    """Fills all weights with numbers that survive many blocks.

    Without LayerNorm the kernels of small_networks.randomize multiply
    activations by about four per block and attention scores by the square of
    it: soon each softmax picks one position, which hides differences or, at
    a tie, shows those of rounding.

    Args:
        model: a built model of mobilebert_tf.modeling.models.
        seed: of the numbers.
    """
    small_networks.randomize(model, seed)
    for block in model.encoder.blocks:
        for dense in (block.attention.query, block.attention.key):
            _scale(dense.kernel, 0.5)
        if block.config.normalization_type == "no_norm":
            _calm(block)


def _calm(block):
    for network in block.feed_forward_networks:
        _scale(network.output_dense.kernel, 0.2)
    if block.config.use_bottleneck:
        _scale(block.output_bottleneck.dense.kernel, 0.2)
        _scale(block.output_bottleneck.normalization.beta, 0.2)
    for weight in block.weights:
        if "gamma" in weight.name:  # uniform in [0.8, 1.2]
            weight.assign(1.0 + 0.4 * (weight - 1.0))


def _scale(variable, factor):
    variable.assign(factor * variable)


def make_inputs(
    config, length: int, padded: bool = True, count: int = 3
) -> dict[str, np.ndarray]:
    """Returns inputs of pairs [count, length], all but the first padded.

    Args:
        config: MobileBertConfig.
        length: of the arrays; at least 2 if padded.
        padded: False for texts of full length.
        count: texts.
    """
    inputs = small_networks.make_inputs(config, count, length)
    if not padded:
        inputs["input_mask"] = np.ones_like(inputs["input_mask"])
    return inputs
