"""Hugging Face's PyTorch MobileBERT with the weights of ours.

The map of names below is written against both networks and shares nothing
with mobilebert_tf/checkpoints: an error in a shared map would hide.

Three things differ by design. Hugging Face's "gelu" is our "gelu_erf" and its
"gelu_new" our "gelu". It leaves PyTorch's epsilon of 1e-5 in two LayerNorms,
those of the embeddings and of a block's last feed-forward network, where we
and the reference have 1e-12: 5e-6 of a normalised vector of variance 1. And
it hides padding by the lowest float32 instead of -10000: after softmax both
are 0.
"""

import numpy as np
import pytest
import small_networks
import tensorflow as tf

_REASON = "needs the extra 'parity': run `make test-parity`"
torch = pytest.importorskip("torch", reason=_REASON)
transformers = pytest.importorskip("transformers", reason=_REASON)

_ACTIVATIONS = {"gelu": "gelu_new", "gelu_erf": "gelu"}
_NETWORK_FIELDS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "embedding_size",
    "trigram_input",
    "use_bottleneck",
    "intra_bottleneck_size",
    "use_bottleneck_attention",
    "key_query_shared_bottleneck",
    "num_feedforward_networks",
    "normalization_type",
    "classifier_activation",
)
_INPUTS = {
    "input_word_ids": "input_ids",
    "input_mask": "attention_mask",
    "input_type_ids": "token_type_ids",
}


def make_model(ours, num_labels: int = 2):
    """Returns Hugging Face's model of the class and weights of `ours`.

    Args:
        ours: a built model of mobilebert_tf.modeling.models.
        num_labels: of its head, where that has a free number.
    """
    config = ours.config
    torch_config = transformers.MobileBertConfig(
        **{name: getattr(config, name) for name in _NETWORK_FIELDS},
        hidden_act=_ACTIVATIONS.get(config.hidden_act, config.hidden_act),
        num_labels=num_labels,
        attn_implementation="eager",
    )
    theirs = getattr(transformers, type(ours).__name__)(torch_config)
    state = {
        # The bare encoder's names have no prefix.
        name.removeprefix("mobilebert.")
        if type(ours).__name__ == "MobileBertModel"
        else name: torch.tensor(values)
        for name, values in _named_values(ours).items()
    }
    result = theirs.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert set(result.missing_keys) == _unused(config, theirs)
    return theirs.eval()


def run(theirs, inputs: dict[str, np.ndarray]):
    """Returns Hugging Face's outputs for our inputs, without gradients."""
    with torch.no_grad():
        return theirs(
            **to_torch(inputs),
            output_hidden_states=True,
            output_attentions=True,
        )


def to_torch(inputs: dict[str, np.ndarray]) -> dict:
    """Returns our inputs by Hugging Face's names, as int64 tensors."""
    return {
        _INPUTS[name]: torch.tensor(values, dtype=torch.int64)
        for name, values in inputs.items()
    }


def name_variables(model) -> list[tuple[str, tf.Variable, bool]]:
    """Pairs each variable of `model` with Hugging Face's name for it.

    Args:
        model: a built model of mobilebert_tf.modeling.models.

    Returns:
        Triples of name, variable, and whether PyTorch holds its transpose.
    """
    pairs = [*_embeddings(model.encoder.embeddings)]
    for index, block in enumerate(model.encoder.blocks):
        pairs += _block(f"mobilebert.encoder.layer.{index}.", block)
    if model.encoder.has_pooler_weights:
        pairs += _dense("mobilebert.pooler.dense", model.encoder.pooler)
    pairs += _heads(model)
    assert len({id(variable) for _, variable, _ in pairs}) == len(model.weights)
    assert len(pairs) == len(model.weights)
    return pairs


def assert_same_encoder_outputs(ours: dict, theirs, tolerance=1e-4) -> None:
    """Asserts that hidden states and attention maps agree, each tensor.

    Args:
        ours: the dict of one of our models.
        theirs: Hugging Face's outputs, with hidden states and attentions.
        tolerance: largest error over largest value, of each tensor.
    """
    for actual, expected in zip(
        ours["encoder_outputs"], theirs.hidden_states, strict=True
    ):
        small_networks.assert_close(actual, expected, tolerance)
    for scores, expected in zip(
        ours["attention_scores"], theirs.attentions, strict=True
    ):
        small_networks.assert_close(tf.nn.softmax(scores), expected, tolerance)


def _named_values(model):
    values = {
        name: variable.numpy().T if transposed else variable.numpy()
        for name, variable, transposed in name_variables(model)
    }
    if hasattr(model, "masked_lm"):
        # One tensor under two names each.
        values["cls.predictions.decoder.weight"] = values[
            "mobilebert.embeddings.word_embeddings.weight"
        ]
        values["cls.predictions.decoder.bias"] = values["cls.predictions.bias"]
    return values


def _unused(config, theirs):
    """Returns names of weights that Hugging Face makes and does not read."""
    unused = set()
    if not config.trigram_input and config.embedding_size == config.hidden_size:
        unused = {"weight", "bias"}
    names = {
        name
        for name in theirs.state_dict()
        if name.split("embedding_transformation.")[-1] in unused
    }
    if config.embedding_size == config.hidden_size:
        # Of no columns.
        names |= {"cls.predictions.dense.weight"} & set(theirs.state_dict())
    return names


def _embeddings(ours):
    name = "mobilebert.embeddings."
    for theirs, variable in (
        ("word_embeddings", ours.word_table),
        ("token_type_embeddings", ours.type_table),
        ("position_embeddings", ours.position_table),
    ):
        yield f"{name}{theirs}.weight", variable, False
    if ours.needs_projection:
        yield from _dense(f"{name}embedding_transformation", ours.projection)
    yield from _norm(f"{name}LayerNorm", ours.normalization)


def _block(name, block):
    if block.config.use_bottleneck:
        yield from _dense_norm(
            f"{name}bottleneck.input", block.input_bottleneck
        )
        yield from _dense_norm(
            f"{name}output.bottleneck", block.output_bottleneck
        )
    if hasattr(block, "key_query_bottleneck"):
        yield from _dense_norm(
            f"{name}bottleneck.attention", block.key_query_bottleneck
        )
    for part in ("query", "key", "value"):
        yield from _dense(
            f"{name}attention.self.{part}", getattr(block.attention, part)
        )
    yield from _dense_norm(f"{name}attention.output", block.attention_output)
    *first, last = block.feed_forward_networks
    for index, network in enumerate(first):
        yield from _feed_forward(f"{name}ffn.{index}.", network)
    yield from _feed_forward(name, last)


def _feed_forward(name, network):
    yield from _dense(f"{name}intermediate.dense", network.intermediate)
    yield from _dense(f"{name}output.dense", network.output_dense)
    yield from _norm(f"{name}output.LayerNorm", network.normalization)


def _heads(model):
    if hasattr(model, "masked_lm"):
        head, name = model.masked_lm, "cls.predictions."
        yield from _dense(f"{name}transform.dense", head.dense)
        yield from _norm(f"{name}transform.LayerNorm", head.normalization)
        if hasattr(head, "extra_output_weights"):
            yield f"{name}dense.weight", head.extra_output_weights, True
        yield f"{name}bias", head.output_bias, False
    if hasattr(model, "next_sentence"):
        yield from _dense("cls.seq_relationship", model.next_sentence.dense)
    if hasattr(model, "classifier"):
        yield from _dense("classifier", model.classifier.dense)
    if hasattr(model, "span"):
        yield from _dense("qa_outputs", model.span.dense)


def _dense_norm(name, layer):
    yield from _dense(f"{name}.dense", layer.dense)
    yield from _norm(f"{name}.LayerNorm", layer.normalization)


def _dense(name, layer):
    yield f"{name}.weight", layer.kernel, True
    yield f"{name}.bias", layer.bias, False


def _norm(name, layer):
    yield f"{name}.weight", layer.gamma, False
    yield f"{name}.bias", layer.beta, False
