"""Model Garden checkpoints: the object graphs of its Keras models.

The Garden saves an encoder alone, a pre-trainer's `checkpoint_items`, or a
whole model (BertPretrainerV2, BertClassifier, BertSpanLabeler,
BertTokenClassifier). Where the encoder is, and which edges lead to its head,
is read from the object graph; so a file is found whatever its keys begin
with.
"""

import os
import re

import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import beside
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import names
from mobilebert_tf.checkpoints import source as source_lib
from mobilebert_tf.checkpoints import tensorflow_files
from mobilebert_tf.checkpoints import weight as weight_lib

_CHECKPOINT_NAME = "ckpt"
_ENCODER = "encoder"
_MASKED_LM = "masked_lm"
_NEXT_SENTENCE = "next_sentence"
_WORD_TABLE = "layer_with_weights-0/word_embedding/embeddings"
# The head of a functional model whose first layer is the encoder.
_SECOND_LAYER = "layer_with_weights-1"
# First part of Place.key, and the head it stands for.
_SECOND_LAYER_HEADS = {
    "classifier": model_directory.SEQUENCE_CLASSIFICATION,
    "token_classifier": model_directory.TOKEN_CLASSIFICATION,
    "span_labeler": model_directory.QUESTION_ANSWERING,
}
_HEAD_NAME = re.compile(r"pooler_dense|/(dense|out_proj)/|classification_heads")
_OTHER_STRUCTURE = "heads of another structure"


def read(path: str, options: source_lib.Options) -> checkpoint_lib.Checkpoint:
    """Reads a Model Garden checkpoint.

    Args:
        path: a folder, whose newest checkpoint is taken, or a prefix.
        options: see source.Options; `scope` chooses among several encoders.

    Raises:
        ValueError: if a file is absent or damaged, if there is no MobileBERT
            encoder or more than one, or the config does not fit it.
    """
    prefix = tensorflow_files.find_prefix(path)
    reader = tensorflow_files.Reader(prefix)
    if not reader.is_object_based:
        raise ValueError(
            f"--input={path}: expected the objects of TF2, got a TF1 "
            "checkpoint; use --from=tf1"
        )
    folder = os.path.dirname(prefix)
    config = beside.read_config(folder, path, options)
    check_config(config)
    graph = reader.object_graph()
    anchors = _find_anchors(graph, path, options.scope)
    head, num_labels = _find_head(graph, anchors, reader.shapes)
    backbone = {graph.key(node) for node in graph.walk(anchors[_ENCODER])}
    others = {
        graph.key(node)
        for encoder in _find_encoders(graph)
        if encoder != anchors[_ENCODER]
        for node in graph.walk(encoder)
    }

    def locate(key):
        anchor, rest = key.split("/", 1)
        node = graph.follow(rest, anchors[anchor])
        return (None if node is None else graph.key(node)) or key

    def kind(name):
        if name in others:
            return "other encoders"
        kind = tensorflow_files.bookkeeping_kind(name)
        if kind is None and name not in backbone and _HEAD_NAME.search(name):
            return _OTHER_STRUCTURE
        return kind

    return source_lib.assemble(
        source_lib.Source(
            path=path,
            format=weight_lib.GARDEN,
            config=config,
            info=source_lib.make_info(config, head, num_labels),
            shapes=reader.shapes,
            locate=locate,
            read=reader.read,
            is_backbone=backbone.__contains__,
            kind=kind,
            vocabulary=beside.read_vocabulary(folder, options),
        ),
        options,
    )


def write(
    checkpoint: checkpoint_lib.Checkpoint, folder: str
) -> checkpoint_lib.Written:
    """Writes an object checkpoint, bert_config.json and vocab.txt.

    The Garden's Checkpoint(encoder=...), Checkpoint(encoder=, masked_lm=) and
    Checkpoint(model=...) of the model with this head restore it: the edges of
    all of them are there, and lead to the same variables.
    """
    check_config(checkpoint.config)
    tree = tf.Module()
    for weight in names.list_weights(
        checkpoint.config, checkpoint.head, len(checkpoint.labels)
    ):
        place = weight.places[weight_lib.GARDEN]
        value = place.encode(checkpoint.values[weight.name])
        _set(tree, place.key, tf.Variable(value))
    encoder = getattr(tree, _ENCODER)
    items = {_ENCODER: encoder, "model": _make_model(tree, encoder)}
    if hasattr(tree, _MASKED_LM):
        table = _get(encoder, _WORD_TABLE)
        tree.masked_lm.embedding_table = table
        items[_MASKED_LM] = tree.masked_lm
    tf.train.Checkpoint(**items).save(os.path.join(folder, _CHECKPOINT_NAME))
    beside.write(checkpoint, folder)
    return checkpoint_lib.Written()


def check_config(config) -> None:
    """Raises ValueError if the Garden's encoder cannot be `config`."""
    for field in ("use_bottleneck", "trigram_input"):
        if not getattr(config, field):
            raise ValueError(
                f"{field}: the Model Garden's MobileBERT has no network "
                "without it, got false"
            )


def _make_model(tree, encoder):
    """Returns the node of the Garden's whole model, with edges to `tree`."""
    model = tf.Module()
    for name in _SECOND_LAYER_HEADS:
        if hasattr(tree, name):
            setattr(model, "layer_with_weights-0", encoder)
            setattr(model, _SECOND_LAYER, getattr(tree, name))
            return model
    if not hasattr(tree, _MASKED_LM) and not hasattr(tree, _NEXT_SENTENCE):
        return encoder
    model.encoder_network = encoder
    if hasattr(tree, _MASKED_LM):
        model.masked_lm = tree.masked_lm
    if hasattr(tree, _NEXT_SENTENCE):
        model.classification_heads = [tree.next_sentence]
    return model


def _set(tree, path, variable):
    *parents, last = (part.replace(".S", "/") for part in path.split("/"))
    node = tree
    for part in parents:
        if not hasattr(node, part):
            setattr(node, part, tf.Module())
        node = getattr(node, part)
    setattr(node, last, variable)


def _get(node, path):
    for part in path.split("/"):
        node = getattr(node, part)
    return node


def _find_encoders(graph):
    """Returns from the node of each encoder to its path."""
    return {
        node: path
        for node, path in graph.walk().items()
        if graph.follow(_WORD_TABLE, node) is not None
    }


def _find_anchors(graph, path, scope):
    """Returns from the first part of a Place.key to a node."""
    encoders = {
        node: place
        for node, place in _find_encoders(graph).items()
        if not scope or f"{place}/".startswith(f"{scope.strip('/')}/")
    }
    if len(encoders) != 1:
        found = ", ".join(encoders.values()) or "none"
        raise ValueError(
            f"--input={path}: expected one MobileBERT encoder, found {found}"
            + ("; choose with --scope" if encoders else "")
        )
    ((encoder, _),) = encoders.items()
    anchors = {_ENCODER: encoder}
    table = graph.follow(_WORD_TABLE, encoder)
    for node in graph.walk():
        children = graph.children(node)
        if children.get("embedding_table") == table and "dense" in children:
            anchors[_MASKED_LM] = node
        if children.get("layer_with_weights-0") == encoder:
            anchors |= _second_layer(graph, children.get(_SECOND_LAYER))
        if children.get("encoder_network") == encoder:
            anchors |= _next_sentence(graph, children)
    return anchors


def _second_layer(graph, node):
    """Returns the anchor of the layer behind the encoder, if it is ours."""
    children = {} if node is None else graph.children(node)
    if "out_proj" in children and "dense" not in children:
        return {"classifier": node}
    if "kernel" in children:
        return {"token_classifier": node}
    if "layer_with_weights-0" in children:
        return {"span_labeler": node}
    return {}


def _next_sentence(graph, children):
    """Returns the anchor of a pre-trainer's only head, if it is ours."""
    if "classification_heads" not in children:
        return {}
    heads = list(graph.children(children["classification_heads"]).values())
    if len(heads) != 1:
        return {}
    parts = graph.children(heads[0])
    if "out_proj" in parts and "dense" not in parts:
        return {_NEXT_SENTENCE: heads[0]}
    return {}


def _find_head(graph, anchors, shapes):
    """Returns head and number of labels."""
    for anchor, head in _SECOND_LAYER_HEADS.items():
        if anchor in anchors:
            parts = graph.walk(anchors[anchor])
            keys = [graph.key(node) for node in parts]
            (count,) = {
                shapes[key][0] for key in keys if key and len(shapes[key]) == 1
            }
            return head, count
    if _MASKED_LM in anchors and _NEXT_SENTENCE in anchors:
        return model_directory.PRETRAINING, 0
    if _MASKED_LM in anchors:
        return model_directory.MASKED_LM, 0
    if _NEXT_SENTENCE in anchors:
        return model_directory.NEXT_SENTENCE, 0
    return model_directory.ENCODER, 0
