"""Reads, writes and converts checkpoints between formats.

Example:

    checkpoint = conversion.read("mobilebert.tar.gz", "auto")
    model = conversion.build_model(checkpoint)
    conversion.write(checkpoint, "mobilebert_hf", "huggingface")
"""

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator

from absl import logging

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import garden
from mobilebert_tf.checkpoints import huggingface
from mobilebert_tf.checkpoints import names
from mobilebert_tf.checkpoints import native
from mobilebert_tf.checkpoints import source as source_lib
from mobilebert_tf.checkpoints import tensorflow_files
from mobilebert_tf.checkpoints import tf1
from mobilebert_tf.checkpoints import weight as weight_lib

AUTO = "auto"
REPORT_FILE = "conversion.json"

_MODULES = {
    weight_lib.TF1: tf1,
    weight_lib.HUGGINGFACE: huggingface,
    weight_lib.GARDEN: garden,
    weight_lib.NATIVE: native,
}

build_model = native.build_model
assign = native.assign


def read(
    path: str, source_format: str = AUTO, **options
) -> checkpoint_lib.Checkpoint:
    """Reads a checkpoint.

    Args:
        path: file, folder or checkpoint prefix, as the format has it.
        source_format: one of weight.FORMATS, or "auto".
        **options: fields of source.Options.

    Raises:
        ValueError: if a file is absent or damaged, or the files do not fit
            together.
    """
    options = source_lib.Options(**options)
    _check_head(options.head)
    if source_format == AUTO:
        source_format = find_format(path)
    return _module(source_format).read(path, options)


def write(
    checkpoint: checkpoint_lib.Checkpoint, path: str, target_format: str
) -> checkpoint_lib.Accounting:
    """Writes a checkpoint as a new folder, whole or not at all.

    Args:
        checkpoint: what to write.
        path: folder, absent or empty.
        target_format: one of weight.FORMATS.

    Returns:
        The checkpoint's accounting, completed by what became of it here.

    Raises:
        ValueError: if the folder is not empty, or the format cannot hold the
            network.
    """
    module = _module(target_format)
    with _new_folder(path) as folder:
        held = _as_held(checkpoint, target_format)
        written = module.write(held, folder)
        accounting = dataclasses.replace(
            held.accounting,
            added=written.added,
            notes=(*held.accounting.notes, *written.notes),
        )
        report = {"format": target_format, "head": checkpoint.head}
        files.write_text(
            os.path.join(folder, REPORT_FILE),
            json.dumps({**report, **accounting.to_dict()}, indent=2) + "\n",
        )
    return accounting


def convert(
    source: str,
    target: str,
    source_format: str,
    target_format: str,
    **options,
) -> checkpoint_lib.Accounting:
    """Reads `source` and writes it to the folder `target`.

    Args:
        source: see `read`.
        target: see `write`.
        source_format: see `read`.
        target_format: see `write`.
        **options: fields of source.Options.

    Returns:
        What became of every variable; conversion.json in `target` says the
        same.

    Raises:
        ValueError: see `read` and `write`.
    """
    _module(target_format)
    _check_new_folder(target)
    checkpoint = read(source, source_format, **options)
    logging.info(
        "read %d weights, head %s", len(checkpoint.values), checkpoint.head
    )
    return write(checkpoint, target, target_format)


def find_format(path: str) -> str:
    """Returns the format of the checkpoint at `path`.

    Raises:
        ValueError: if it is none of them.
    """
    if tf1.is_archive(path):
        return weight_lib.TF1
    if huggingface.is_checkpoint(path):
        return weight_lib.HUGGINGFACE
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    if os.path.isfile(os.path.join(folder, model_directory.INFO_FILE)):
        return weight_lib.NATIVE
    prefix = tensorflow_files.find_prefix(path)
    if tensorflow_files.Reader(prefix).is_object_based:
        return weight_lib.GARDEN
    return weight_lib.TF1


def _module(name):
    if name not in _MODULES:
        raise ValueError(
            f"format: expected one of {', '.join(_MODULES)}, got {name!r}"
        )
    return _MODULES[name]


def _check_head(head):
    if head is not None and head not in model_directory.HEADS:
        raise ValueError(
            f"--head: expected one of {', '.join(model_directory.HEADS)}, "
            f"got {head!r}"
        )


def _as_held(checkpoint, target_format):
    """Returns what of `checkpoint` the format can hold."""
    not_carried = [
        weight.name
        for weight in names.list_weights(
            checkpoint.config, checkpoint.head, len(checkpoint.labels)
        )
        if target_format not in weight.places
    ]
    config, info = checkpoint.config, checkpoint.info
    notes = list(checkpoint.accounting.notes)
    nameless = info.head == model_directory.SENTENCE_EMBEDDING
    if target_format != weight_lib.NATIVE and (not_carried or nameless):
        notes.append(f"the format has no head {info.head}: the encoder only")
        info = dataclasses.replace(
            info, head=model_directory.ENCODER, labels=()
        )
    if _expects_pooler(config, info.head, target_format) and (
        not names.has_pooler(config, checkpoint.head)
    ):
        notes.append(
            "there is no pooler: classifier_activation is written as false"
        )
        config = dataclasses.replace(config, classifier_activation=False)
    return dataclasses.replace(
        checkpoint,
        config=config,
        info=info,
        values={
            name: value
            for name, value in checkpoint.values.items()
            if name not in not_carried
        },
        accounting=dataclasses.replace(
            checkpoint.accounting,
            not_carried=tuple(not_carried),
            notes=tuple(notes),
        ),
    )


def _expects_pooler(config, head, target_format):
    """Returns whether the format's own code would look for a pooler."""
    if target_format in (weight_lib.TF1, weight_lib.GARDEN):
        return config.classifier_activation  # whatever the head
    return names.has_pooler(config, head)


def _check_new_folder(path):
    """Raises ValueError if no new folder can become `path`."""
    files.require_writable_directory(path, "output")
    target = os.path.realpath(path)
    if not os.path.isdir(target):
        return
    if os.listdir(target):
        raise ValueError(f"--output={path}: expected a new or empty folder")
    # It is going to be replaced.
    if os.path.ismount(target):
        raise ValueError(
            f"--output={path}: a mount point cannot be replaced; give a folder "
            "in it"
        )
    parent = os.path.dirname(target)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(
            f"--output={path}: cannot be written: permission denied in {parent}"
        )


@contextlib.contextmanager
def _new_folder(path) -> Iterator[str]:
    """Yields a folder beside `path` that becomes it if the block succeeds."""
    _check_new_folder(path)
    target = os.path.realpath(path)
    parent = os.path.dirname(target)
    os.makedirs(parent, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{os.path.basename(target)}.", dir=parent
    ) as temporary:
        folder = os.path.join(temporary, "folder")
        os.mkdir(folder)
        yield folder
        os.replace(folder, target)
