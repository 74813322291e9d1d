"""Hugging Face checkpoints of MobileBERT.

folder/
  config.json
  model.safetensors, or its shards, or pytorch_model.bin
  vocab.txt or tokenizer.json, tokenizer_config.json
"""

import os

import numpy as np
import safetensors.numpy

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import beside
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import huggingface_config
from mobilebert_tf.checkpoints import huggingface_files
from mobilebert_tf.checkpoints import huggingface_names
from mobilebert_tf.checkpoints import huggingface_tokenizer
from mobilebert_tf.checkpoints import names
from mobilebert_tf.checkpoints import source as source_lib
from mobilebert_tf.checkpoints import weight as weight_lib
from mobilebert_tf.modeling import config as config_lib

_PROJECTION = "embeddings.embedding_transformation"
_EXTRA_WEIGHTS = "cls.predictions.dense.weight"
_TRANSFORM = "cls.predictions.transform.dense.weight"
_NEXT_SENTENCE = "cls.seq_relationship.weight"
_CLASSIFIER = "classifier.weight"
_SPAN = "qa_outputs.weight"
# What tells the heads, those with most tensors first.
_HEAD_TENSORS = {
    model_directory.QUESTION_ANSWERING: (_SPAN,),
    model_directory.SEQUENCE_CLASSIFICATION: (_CLASSIFIER,),
    model_directory.TOKEN_CLASSIFICATION: (_CLASSIFIER,),
    model_directory.MULTIPLE_CHOICE: (_CLASSIFIER,),
    model_directory.PRETRAINING: (_TRANSFORM, _NEXT_SENTENCE),
    model_directory.MASKED_LM: (_TRANSFORM,),
    model_directory.NEXT_SENTENCE: (_NEXT_SENTENCE,),
    model_directory.ENCODER: (),
}
_NUM_SPAN_OUTPUTS = 2


def is_checkpoint(path: str) -> bool:
    """Returns whether `path` looks like a Hugging Face file or folder."""
    if os.path.isdir(path):
        return os.path.isfile(
            os.path.join(path, huggingface_config.CONFIG_FILE)
        )
    return path.endswith(huggingface_files.SUFFIXES)


def read(path: str, options: source_lib.Options) -> checkpoint_lib.Checkpoint:
    """Reads a Hugging Face checkpoint.

    Args:
        path: its folder, a .safetensors or .bin file, or the index of shards.
        options: see source.Options.

    Raises:
        ValueError: if a file is absent or damaged, if the config is not of a
            MobileBERT that this project has, if the head that it names is
            missing and `options` ask for no other, if a masked-LM decoder has
            weights of its own, or the files do not fit together.
    """
    paths = huggingface_files.find(path)
    folder = os.path.dirname(paths[0])
    config_file = beside.find(
        folder, path, options.config_file, huggingface_config.CONFIG_FILE
    )
    described = huggingface_config.read(config_file)
    huggingface_config.check_config(described.config)
    tensors = huggingface_files.Tensors(paths)
    tokenizer = huggingface_tokenizer.read(folder, options)
    stored = huggingface_names.StoredNames(tensors.shapes)
    head, head_notes = _find_head(path, stored, described, options.head)
    untied = _find_untied(tensors, stored)
    if _TRANSFORM in _HEAD_TENSORS.get(options.head or head, ()):
        _check_tied(path, untied)
    num_labels = _count_outputs(path, stored, tensors.shapes, head)
    labels, label_notes = _labels(described, num_labels)
    return source_lib.assemble(
        source_lib.Source(
            path=path,
            format=weight_lib.HUGGINGFACE,
            config=described.config,
            info=source_lib.make_info(
                described.config,
                head,
                num_labels,
                labels,
                lower_case=tokenizer.lower_case,
                max_seq_length=tokenizer.max_length,
            ),
            shapes=tensors.shapes,
            locate=stored.locate,
            read=tensors.read,
            is_backbone=lambda name: stored.plain(name).startswith(
                huggingface_names.PREFIX
            ),
            kind=lambda name: _kind(
                stored.plain(name), described.config, untied
            ),
            vocabulary=tokenizer.vocabulary,
            notes=(*head_notes, *label_notes),
        ),
        options,
    )


def write(
    checkpoint: checkpoint_lib.Checkpoint, folder: str
) -> checkpoint_lib.Written:
    """Writes a folder that transformers' from_pretrained takes.

    Raises:
        ValueError: if Hugging Face's classes cannot build the network.
    """
    huggingface_config.write(
        checkpoint.config,
        checkpoint.head,
        checkpoint.labels,
        huggingface_tokenizer.pad_token_id(checkpoint),
        folder,
    )
    tensors = {}
    for weight in names.list_weights(
        checkpoint.config, checkpoint.head, len(checkpoint.labels)
    ):
        place = weight.places[weight_lib.HUGGINGFACE]
        tensors[place.key] = place.encode(checkpoint.values[weight.name])
    added = _unused_tensors(checkpoint)
    tensors |= added
    if checkpoint.head == model_directory.ENCODER:
        added = _without_prefix(added)
        tensors = _without_prefix(tensors)
    safetensors.numpy.save_file(
        tensors,
        os.path.join(folder, huggingface_files.WEIGHTS_FILE),
        # Without it from_pretrained refuses the file.
        metadata={"format": "pt"},
    )
    huggingface_tokenizer.write(checkpoint, folder)
    return checkpoint_lib.Written(
        added=tuple(added),
        notes=tuple(_differences(checkpoint.config)),
    )


def _find_head(path, stored, described, requested):
    """Returns the head by its tensors, and notes.

    They do not tell what a classifier is for.

    Raises:
        ValueError: if the head that the config names is not there, unless the
            user asks for one: a fine-tuned head is not to be lost in silence.
    """
    heads = [
        head
        for head, tensors in _HEAD_TENSORS.items()
        if all(name in stored for name in tensors)
    ]
    if described.head and described.head not in heads and not requested:
        missing = next(
            name for name in _HEAD_TENSORS[described.head] if name not in stored
        )
        raise ValueError(
            f"{path}: {missing} is missing, which {described.architecture} "
            f"has; --head={heads[0]} takes what is there"
        )
    if _CLASSIFIER not in _HEAD_TENSORS[heads[0]]:
        return heads[0], ()
    for head in (described.head, requested):
        if _CLASSIFIER in _HEAD_TENSORS.get(head, ()):
            return head, ()
    return heads[0], (
        f"the config names no head (architectures: "
        f"{described.architecture or 'none'}): the classifier is taken for "
        f"{heads[0]}, --head says otherwise",
    )


def _count_outputs(path, stored, shapes, head):
    """Returns the number of labels; 0 for a head without."""
    if not {_CLASSIFIER, _SPAN}.intersection(_HEAD_TENSORS[head]):
        return 0
    name = stored.locate(*_HEAD_TENSORS[head])
    shape = shapes[name]
    if not shape:
        raise ValueError(f"{path}: {name} is a scalar, expected a matrix")
    if _SPAN in _HEAD_TENSORS[head] and shape[0] != _NUM_SPAN_OUTPUTS:
        raise ValueError(
            f"{path}: {name} has {shape[0]} outputs (num_labels), expected "
            f"{_NUM_SPAN_OUTPUTS}: start and end"
        )
    return shape[0] if head in model_directory.LABELLED_HEADS else 0


def _labels(described, num_labels):
    """Returns the names of the labels if they fit their number, and notes."""
    count = len(described.labels)
    if not num_labels or not count or count == num_labels:
        return described.labels, ()
    return (), (
        f"id2label names {count} labels, the head has {num_labels} outputs: "
        "the names are not used, give others with --labels",
    )


def _find_untied(tensors, stored):
    """Returns, from its other name, each tensor stored twice and different."""
    untied = {}
    for name, other in huggingface_names.TIED.items():
        both = stored.find(name), stored.find(other)
        if all(both) and not _are_equal(*map(tensors.read, both)):
            untied[other] = name
    return untied


def _are_equal(a, b):
    return np.array_equal(
        a.astype(np.float32), b.astype(np.float32), equal_nan=True
    )


def _check_tied(path, untied):
    """Raises ValueError if the decoder has weights of its own."""
    for other, name in untied.items():
        raise ValueError(
            f"{path}: {other} differs from {name}; the network has one for "
            "both; --head=encoder does without"
        )


def _kind(name, config, untied):
    """Returns the kind of a tensor that our network does not have."""
    if name.endswith("position_ids"):
        return "buffers"
    if name in untied:
        return "untied decoder"
    if name in (
        *huggingface_names.TIED,
        *huggingface_names.TIED.values(),
    ):
        return "tied copies"
    unused = name.startswith(huggingface_names.PREFIX + _PROJECTION) and (
        not names.has_projection(config)
    )
    if ".bottleneck.attention." in name and config.use_bottleneck_attention:
        unused = config.key_query_shared_bottleneck
    if name == _EXTRA_WEIGHTS:
        unused = config.embedding_size == config.hidden_size
    return "unused by the network" if unused else None


def _without_prefix(tensors):
    return {
        name.removeprefix(huggingface_names.PREFIX): value
        for name, value in tensors.items()
    }


def _unused_tensors(checkpoint):
    """Returns what Hugging Face builds but never uses."""
    config = checkpoint.config
    width = config.hidden_size
    tensors = {}
    if not names.has_projection(config):
        prefix = huggingface_names.PREFIX + _PROJECTION
        tensors[f"{prefix}.weight"] = np.eye(width, dtype=np.float32)
        tensors[f"{prefix}.bias"] = np.zeros([width], np.float32)
    has_masked_lm = "cls/predictions/output_bias" in checkpoint.values
    if has_masked_lm and config.embedding_size == width:
        tensors[_EXTRA_WEIGHTS] = np.zeros([0, config.vocab_size], np.float32)
    return tensors


def _differences(config):
    """Says in what Hugging Face computes otherwise with these weights."""
    if config.normalization_type == "layer_norm":
        yield (
            "Hugging Face's LayerNorm adds 1e-5 to the variance of embeddings "
            "and last feed-forward networks, the published code 1e-12"
        )
    if config.attention_mask_type != config_lib.ADDITIVE_MASK:
        yield "Hugging Face ignores attention_mask_type: its mask is additive"
    if config.pad_invariant:
        yield "Hugging Face ignores pad_invariant: outputs depend on padding"
