"""One map of weight names for every checkpoint format.

For a network and its head it lists each weight once: what it is called in the
published TF1 checkpoints (the canonical name and shape, by which all code
here speaks of it) and where and how each format stores it. The readers and
writers of the formats know no name of a weight.

Legend: V vocab_size, E embedding_size, H hidden_size, b width inside a block,
N heads, d head size, F intermediate_size, C number of labels.
"""

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import weight as weight_lib
from mobilebert_tf.modeling import config as config_lib

_MASKED_LM_HEADS = (model_directory.PRETRAINING, model_directory.MASKED_LM)
_NEXT_SENTENCE_HEADS = (
    model_directory.PRETRAINING,
    model_directory.NEXT_SENTENCE,
)
# They read the token vectors, not the pooled one.
_HEADS_WITHOUT_POOLER = (
    model_directory.MASKED_LM,
    model_directory.TOKEN_CLASSIFICATION,
    model_directory.QUESTION_ANSWERING,
    model_directory.SENTENCE_EMBEDDING,
)
_NUM_SPAN_OUTPUTS = 2
_NUM_NEXT_SENTENCE_LABELS = 2


def has_pooler(config: config_lib.MobileBertConfig, head: str) -> bool:
    """Returns whether the network of `head` has pooler weights."""
    return config.classifier_activation and head not in _HEADS_WITHOUT_POOLER


def list_weights(
    config: config_lib.MobileBertConfig, head: str, num_labels: int = 0
) -> list[weight_lib.Weight]:
    """Lists the weights of a network with its head, each once.

    Args:
        config: the network.
        head: one of model_directory.HEADS.
        num_labels: of the heads in model_directory.LABELLED_HEADS.
    """
    weights = _embeddings(config)
    for index in range(config.num_hidden_layers):
        weights += _block(config, index)
    if has_pooler(config, head):
        weights += _pooler(config)
    if head in _MASKED_LM_HEADS:
        weights += _masked_lm(config)
    if head in _NEXT_SENTENCE_HEADS:
        weights += _next_sentence(config)
    if head in _CLASSIFIERS:
        outputs = num_labels if head in model_directory.LABELLED_HEADS else 1
        weights += _classifier(config, outputs, *_CLASSIFIERS[head])
    if head == model_directory.QUESTION_ANSWERING:
        weights += _span(config)
    return weights


def _embeddings(config):
    hidden = config.hidden_size

    def scope(name, garden, native):
        return weight_lib.Scope(
            weight_lib.BACKBONE,
            f"bert/embeddings/{name}",
            "mobilebert.embeddings."
            + name.replace("FakeLayerNorm", "LayerNorm"),
            f"encoder/layer_with_weights-0/{garden}",
            f"encoder/embeddings/{native}",
        )

    words = (config.vocab_size, config.embedding_size)
    types = (config.type_vocab_size, hidden)
    positions = (config.max_position_embeddings, hidden)
    weights = [
        scope("word_embeddings", "word_embedding", "word_table").weight(
            "table", words
        ),
        scope("token_type_embeddings", "type_embedding", "type_table").weight(
            "table", types
        ),
        scope("position_embeddings", "pos_embedding", "position_table").weight(
            "table", positions
        ),
    ]
    if has_projection(config):
        width = config.embedding_size * (3 if config.trigram_input else 1)
        weights += scope(
            "embedding_transformation", "word_embedding_proj", "projection"
        ).dense(width, hidden)
    return weights + scope(
        _norm_name(config), "layer_norm", "normalization"
    ).norm(hidden)


def has_projection(config: config_lib.MobileBertConfig) -> bool:
    """Returns whether word vectors are projected to hidden_size."""
    return config.trigram_input or config.embedding_size != config.hidden_size


def has_key_query_bottleneck(config: config_lib.MobileBertConfig) -> bool:
    """Returns whether query and key share a bottleneck of their own."""
    return (
        config.key_query_shared_bottleneck
        and not config.use_bottleneck_attention
    )


def _norm_name(config):
    return {"no_norm": "FakeLayerNorm", "layer_norm": "LayerNorm"}[
        config.normalization_type
    ]


def _block(config, index):
    """Lists the weights of block `index`."""

    def scope(name, garden, native):
        return weight_lib.Scope(
            weight_lib.BACKBONE,
            f"bert/encoder/layer_{index}/{name}",
            f"mobilebert.encoder.layer.{index}."
            + name.replace("FakeLayerNorm", "LayerNorm")
            .replace("ffn_layer_", "ffn/")
            .replace("/", "."),
            f"encoder/layer_with_weights-{index + 1}/block_layers/{garden}",
            f"encoder/blocks/{index}/{native}",
        )

    weights = []
    if config.use_bottleneck:
        weights += _bottleneck(
            config, scope, "input", "bottleneck_input", "input_bottleneck"
        )
    if has_key_query_bottleneck(config):
        weights += _bottleneck(
            config,
            scope,
            "attention",
            "kq_shared_bottleneck",
            "key_query_bottleneck",
        )
    weights += _attention(config, scope)
    for network in range(config.num_feedforward_networks):
        weights += _feed_forward(config, scope, network)
    if config.use_bottleneck:
        norm = _norm_name(config)
        weights += scope(
            "output/bottleneck/dense",
            "bottleneck_output/0",
            "output_bottleneck/dense",
        ).dense(config.block_size, config.hidden_size)
        weights += scope(
            f"output/bottleneck/{norm}",
            "bottleneck_output/2",  # 1 is dropout
            "output_bottleneck/normalization",
        ).norm(config.hidden_size)
    return weights


def _bottleneck(config, scope, name, garden, native):
    dense = scope(
        f"bottleneck/{name}/dense", f"{garden}/0", f"{native}/dense"
    ).dense(config.hidden_size, config.block_size)
    norm = scope(
        f"bottleneck/{name}/{_norm_name(config)}",
        f"{garden}/1",
        f"{native}/normalization",
    ).norm(config.block_size)
    return dense + norm


def _attention(config, scope):
    """Lists query, key, value and output; 3-D in the Garden."""
    width = config.block_size
    heads = (config.num_attention_heads, config.head_size)
    value_input = config.hidden_size
    if config.use_bottleneck_attention:
        value_input = width
    query_input = value_input
    if has_key_query_bottleneck(config):
        query_input = width
    weights = []
    for name, rows in (
        ("query", query_input),
        ("key", query_input),
        ("value", value_input),
    ):
        weights += scope(
            f"attention/self/{name}",
            f"attention/0/_{name}_dense",
            f"attention/{name}",
        ).dense(rows, width, (rows, *heads), heads)
    weights += scope(
        "attention/output/dense",
        "attention/0/_output_dense",
        "attention_output/dense",
    ).dense(width, width, (*heads, width))
    return weights + scope(
        f"attention/output/{_norm_name(config)}",
        "attention/1",
        "attention_output/normalization",
    ).norm(width)


def _feed_forward(config, scope, network):
    """Lists feed-forward network `network`; TF1's last one is BERT's own."""
    prefix = f"ffn_layer_{network}/"
    if network == config.num_feedforward_networks - 1:
        prefix = ""
    garden = f"ffn/{network}"
    native = f"feed_forward_networks/{network}"
    inner, outer = config.intermediate_size, config.block_size
    return (
        scope(
            f"{prefix}intermediate/dense",
            f"{garden}/0",
            f"{native}/intermediate",
        ).dense(outer, inner)
        + scope(
            f"{prefix}output/dense", f"{garden}/1", f"{native}/output_dense"
        ).dense(inner, outer)
        + scope(
            f"{prefix}output/{_norm_name(config)}",
            f"{garden}/2",
            f"{native}/normalization",
        ).norm(outer)
    )


def _pooler(config):
    # The Garden numbers it after the embeddings and the blocks.
    number = config.num_hidden_layers + 1
    return weight_lib.Scope(
        weight_lib.POOLER,
        "bert/pooler/dense",
        "mobilebert.pooler.dense",
        f"encoder/layer_with_weights-{number}",
        "encoder/pooler",
    ).dense(config.hidden_size, config.hidden_size)


def _masked_lm(config):
    hidden = config.hidden_size
    head = weight_lib.Scope(
        weight_lib.HEAD,
        "cls/predictions",
        "cls.predictions",
        "masked_lm",
        "masked_lm",
    )
    weights = weight_lib.Scope(
        weight_lib.HEAD,
        "cls/predictions/transform/dense",
        "cls.predictions.transform.dense",
        "masked_lm/dense",
        "masked_lm/dense",
    ).dense(hidden, hidden)
    weights += weight_lib.Scope(
        weight_lib.HEAD,
        "cls/predictions/transform/LayerNorm",
        "cls.predictions.transform.LayerNorm",
        "masked_lm/layer_norm",
        "masked_lm/normalization",
    ).norm(hidden)
    extra = (config.vocab_size, hidden - config.embedding_size)
    if extra[1]:
        weights.append(head.weight("extra_output_weights", extra))
    weights.append(head.weight("vocabulary_bias", extra[:1]))
    return weights


def _next_sentence(config):
    return weight_lib.Scope(
        weight_lib.HEAD,
        "cls/seq_relationship",
        "cls.seq_relationship",
        "next_sentence/out_proj",
        "next_sentence/dense",
    ).classifier(config.hidden_size, _NUM_NEXT_SENTENCE_LABELS)


# Name, Garden scope, whether TF1 has the head.
_CLASSIFIERS = {
    model_directory.SEQUENCE_CLASSIFICATION: ("", "classifier/out_proj", True),
    model_directory.MULTIPLE_CHOICE: ("multiple_choice", "", False),
    model_directory.TOKEN_CLASSIFICATION: (
        "token_classification",
        "token_classifier",
        False,
    ),
}


def _classifier(config, outputs, name, garden, in_tf1):
    return weight_lib.Scope(
        weight_lib.HEAD, name, "classifier", garden, "classifier/dense", in_tf1
    ).classifier(config.hidden_size, outputs)


def _span(config):
    return weight_lib.Scope(
        weight_lib.HEAD,
        "cls/squad",
        "qa_outputs",
        "span_labeler/layer_with_weights-0",
        "span/dense",
    ).classifier(config.hidden_size, _NUM_SPAN_OUTPUTS)
