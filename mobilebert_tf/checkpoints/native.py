"""This project's own model folders (see model_directory)."""

import os

import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.checkpoints import beside
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import names
from mobilebert_tf.checkpoints import source as source_lib
from mobilebert_tf.checkpoints import tensorflow_files
from mobilebert_tf.checkpoints import weight as weight_lib
from mobilebert_tf.modeling import configured

_MODEL = "model"
_CHECKPOINT_NAME = "ckpt"


def read(path: str, options: source_lib.Options) -> checkpoint_lib.Checkpoint:
    """Reads a model folder without building the model.

    Args:
        path: a model folder, or the prefix of one of its checkpoints.
        options: see source.Options.

    Raises:
        ValueError: if a file is absent or damaged, or they do not fit
            together.
    """
    if os.path.isdir(path):
        folder, prefix = path, model_directory.latest_checkpoint(path)
    else:
        prefix = tensorflow_files.find_prefix(path)
        folder = os.path.dirname(prefix)
    config = beside.read_config(folder, path, options)
    info = model_directory.read_info(folder)
    reader = tensorflow_files.Reader(prefix)
    graph = reader.object_graph() if reader.is_object_based else None
    model = graph and graph.follow(_MODEL)
    if model is None:
        raise ValueError(f"--input={path}: {prefix} holds no object {_MODEL!r}")

    def locate(key):
        node = graph.follow(key, model)
        found = None if node is None else graph.key(node)
        return found or f"{_MODEL}/{key}"

    return source_lib.assemble(
        source_lib.Source(
            path=path,
            format=weight_lib.NATIVE,
            config=config,
            info=info,
            shapes=reader.shapes,
            locate=locate,
            read=reader.read,
            is_backbone=lambda name: name.startswith(f"{_MODEL}/encoder/"),
            kind=_kind,
            vocabulary=beside.read_vocabulary(folder, options),
        ),
        options,
    )


def write(
    checkpoint: checkpoint_lib.Checkpoint, folder: str
) -> checkpoint_lib.Written:
    """Writes a model folder that training, export and prediction take.

    Raises:
        ValueError: if there is no vocabulary, or it does not fit the word
            table.
    """
    if checkpoint.vocabulary is None:
        raise ValueError(
            "a model folder needs a vocabulary, none is known; give "
            "--vocab_file"
        )
    beside.write_vocabulary(checkpoint, folder)
    vocab_file = os.path.join(folder, model_directory.VOCAB_FILE)
    _check_vocabulary(vocab_file, checkpoint.config)
    model_directory.write(
        folder, checkpoint.config, checkpoint.info, vocab_file
    )
    tf.train.Checkpoint(
        model=build_model(checkpoint),
        global_step=tf.Variable(0, dtype=tf.int64),
    ).save(os.path.join(folder, _CHECKPOINT_NAME))
    return checkpoint_lib.Written()


def build_model(
    checkpoint: checkpoint_lib.Checkpoint,
) -> configured.ConfiguredModel:
    """Returns the Keras model of `checkpoint`, with its weights."""
    model = model_directory.make_model(checkpoint.config, checkpoint.info)
    model.build_weights()
    assign(model, checkpoint)
    return model


def assign(
    model: configured.ConfiguredModel, checkpoint: checkpoint_lib.Checkpoint
) -> None:
    """Sets all weights of a built model with the checkpoint's head.

    Raises:
        ValueError: if a weight of the model has another shape.
    """
    for weight in names.list_weights(
        checkpoint.config, checkpoint.head, len(checkpoint.labels)
    ):
        place = weight.places[weight_lib.NATIVE]
        variable = model
        for part in place.key.split("/"):
            variable = (
                variable[int(part)]
                if part.isdigit()
                else getattr(variable, part)
            )
        variable.assign(place.encode(checkpoint.values[weight.name]))


def _check_vocabulary(path, config):
    try:
        tokens = tokenization.load_vocabulary(path)
        model_directory.check_vocabulary(len(tokens), config, path)
    except ValueError as error:
        # The folder is a temporary one, which the user has never seen.
        message = str(error).replace(path, model_directory.VOCAB_FILE)
        raise ValueError(f"{message}; give --vocab_file") from error


def _kind(name):
    if "/generator/" in name:
        return "dropout state"
    if name.startswith(f"{_MODEL}/{model_directory.INT8_RANGES}/"):
        return "int8 ranges"
    return tensorflow_files.bookkeeping_kind(name)
