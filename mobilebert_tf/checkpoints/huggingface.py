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
from mobilebert_tf.checkpoints import huggingface_tokenizer
from mobilebert_tf.checkpoints import names
from mobilebert_tf.checkpoints import source as source_lib
from mobilebert_tf.checkpoints import weight as weight_lib
from mobilebert_tf.modeling import config as config_lib

_PREFIX = "mobilebert."
_WORD_TABLE = "embeddings.word_embeddings.weight"
_BACKBONE_SCOPES = ("embeddings.", "encoder.", "pooler.")
_PROJECTION = "embeddings.embedding_transformation"
_EXTRA_WEIGHTS = "cls.predictions.dense.weight"
_DECODER = "cls.predictions.decoder."
# A shared tensor may be stored under its other name only.
_TIED = {
    "cls.predictions.bias": f"{_DECODER}bias",
    f"{_PREFIX}{_WORD_TABLE}": f"{_DECODER}weight",
}
_CLASSIFIER_HEADS = (
    model_directory.SEQUENCE_CLASSIFICATION,
    model_directory.MULTIPLE_CHOICE,
    model_directory.TOKEN_CLASSIFICATION,
)


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
        path: its folder, or a .safetensors or .bin file.
        options: see source.Options.

    Raises:
        ValueError: if a file is absent or damaged, if the config is not of a
            MobileBERT that this project has, or they do not fit together.
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
    stored = _StoredNames(tensors.shapes)
    head = _find_head(stored, described.head, options.head)
    _check_tied(path, tensors, stored, described)
    return source_lib.assemble(
        source_lib.Source(
            path=path,
            format=weight_lib.HUGGINGFACE,
            config=described.config,
            info=source_lib.make_info(
                described.config,
                head,
                *_labels(stored, tensors.shapes, head, described.labels),
                lower_case=tokenizer.lower_case,
                max_seq_length=tokenizer.max_length,
            ),
            shapes=tensors.shapes,
            locate=stored.locate,
            read=tensors.read,
            is_backbone=lambda name: stored.plain(name).startswith(_PREFIX),
            kind=lambda name: _kind(stored.plain(name), described.config),
            vocabulary=tokenizer.vocabulary,
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
        tensors = {
            name.removeprefix(_PREFIX): value for name, value in tensors.items()
        }
    safetensors.numpy.save_file(
        tensors | added,
        os.path.join(folder, huggingface_files.WEIGHTS_FILE),
        # Without it from_pretrained refuses the file.
        metadata={"format": "pt"},
    )
    huggingface_tokenizer.write(checkpoint, folder)
    return checkpoint_lib.Written(
        added=tuple(added),
        notes=tuple(_differences(checkpoint.config)),
    )


class _StoredNames:
    """Names in a file, and what the present Hugging Face calls them.

    The encoder alone has no prefix, other conversions have one of their own,
    and old files call gamma and beta so.
    """

    def __init__(self, stored):
        tables = [name for name in stored if name.endswith(_WORD_TABLE)]
        self._prefix = _PREFIX
        if tables:
            self._prefix = min(tables, key=len).removesuffix(_WORD_TABLE)
        self._stored = {self.plain(name): name for name in stored}

    def plain(self, name: str) -> str:
        """Returns the present name of what is stored as `name`."""
        rest = name.removeprefix(self._prefix)
        rest = rest.replace("LayerNorm.gamma", "LayerNorm.weight")
        rest = rest.replace("LayerNorm.beta", "LayerNorm.bias")
        if name.startswith(self._prefix) and rest.startswith(_BACKBONE_SCOPES):
            return _PREFIX + rest
        return rest

    def locate(self, key: str) -> str:
        """Returns under which name `key` is stored, or would be."""
        for candidate in (key, _TIED.get(key)):
            if candidate in self._stored:
                return self._stored[candidate]
        return key

    def __contains__(self, key):
        return self.locate(key) in self._stored.values()


def _find_head(stored, described, requested):
    """Returns the head by its tensors; a classifier's use is not among them."""
    if "qa_outputs.weight" in stored:
        return model_directory.QUESTION_ANSWERING
    if "classifier.weight" in stored:
        for head in (described, requested):
            if head in _CLASSIFIER_HEADS:
                return head
        return model_directory.SEQUENCE_CLASSIFICATION
    masked_lm = "cls.predictions.transform.dense.weight" in stored
    next_sentence = "cls.seq_relationship.weight" in stored
    if masked_lm and next_sentence:
        return model_directory.PRETRAINING
    if masked_lm:
        return model_directory.MASKED_LM
    if next_sentence:
        return model_directory.NEXT_SENTENCE
    return model_directory.ENCODER


def _labels(stored, shapes, head, labels):
    """Returns the number of labels, and their names if they fit it."""
    if head not in model_directory.LABELLED_HEADS:
        return 0, ()
    count = shapes[stored.locate("classifier.weight")][0]
    return count, labels if len(labels) == count else ()


def _check_tied(path, tensors, stored, described):
    """Raises ValueError if the decoder has a table of its own."""
    decoder = f"{_DECODER}weight"
    table = stored.locate(_PREFIX + _WORD_TABLE)
    if described.ties_embeddings or decoder not in tensors.shapes:
        return
    if table not in tensors.shapes or not np.array_equal(
        tensors.read(decoder), tensors.read(table)
    ):
        raise ValueError(
            f"{path}: {decoder} is not the word table; the network ties them"
        )


def _kind(name, config):
    """Returns the kind of a tensor that our network does not have."""
    if name.endswith("position_ids"):
        return "buffers"
    if name.startswith(_DECODER) or name == "cls.predictions.bias":
        return "tied copies"
    unused = name.startswith(_PREFIX + _PROJECTION) and (
        not names.has_projection(config)
    )
    if ".bottleneck.attention." in name and config.use_bottleneck_attention:
        unused = config.key_query_shared_bottleneck
    if name == _EXTRA_WEIGHTS:
        unused = config.embedding_size == config.hidden_size
    return "unused by the network" if unused else None


def _without_prefix(tensors):
    return {
        name.removeprefix(_PREFIX): value for name, value in tensors.items()
    }


def _unused_tensors(checkpoint):
    """Returns what Hugging Face builds but never uses."""
    config = checkpoint.config
    width = config.hidden_size
    tensors = {}
    if not names.has_projection(config):
        prefix = f"{_PREFIX}{_PROJECTION}"
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
