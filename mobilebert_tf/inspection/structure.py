"""A network's structure in words."""

from mobilebert_tf.modeling import config as config_lib


def describe(config: config_lib.MobileBertConfig) -> dict[str, str]:
    """Returns what the fields of `config` mean, by topic, for people."""
    return {
        "kind": _kind(config),
        "embeddings": _embeddings(config),
        "block": _block(config),
        "attention": _attention(config),
        "feed-forward": (
            f"{config.num_feedforward_networks} of inner width "
            f"{config.intermediate_size}, {config.hidden_act}"
        ),
        "norm": (
            "NoNorm, an element-wise linear map"
            if config.normalization_type == "no_norm"
            else "LayerNorm"
        ),
        "pooler": (
            "tanh(Dense) of the first token"
            if config.classifier_activation
            else "none, the raw first token"
        ),
    }


def _kind(config):
    if not config.use_bottleneck:
        return "plain BERT, no bottlenecks"
    if config.block_size > config.hidden_size:
        return "inverted bottlenecks, a teacher"
    return "bottlenecks, a student"


def _embeddings(config):
    reads = "next, current, previous token" if config.trigram_input else "token"
    if config.pad_invariant:
        reads += " (padding as zeros)"
    return (
        f"{config.vocab_size} x {config.embedding_size}, reads {reads}; "
        f"{config.max_position_embeddings} positions, "
        f"{config.type_vocab_size} types"
    )


def _block(config):
    return (
        f"{config.num_hidden_layers} blocks, {config.hidden_size} wide "
        f"between, {config.block_size} inside"
    )


def _attention(config):
    if config.use_bottleneck_attention:
        reads = "query, key and value read the input bottleneck"
    elif config.key_query_shared_bottleneck:
        reads = (
            "query and key share a bottleneck, value reads the block's input"
        )
    else:
        reads = "query, key and value read the block's input"
    return (
        f"{config.num_attention_heads} heads of {config.head_size}; {reads}; "
        f"{config.attention_mask_type} mask"
    )
