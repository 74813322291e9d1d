"""TF1 checkpoints: the published form, name-based.

uncased_L-24_H-128_B-512_A-4_F-4_OPT.tar.gz
  mobilebert_variables.ckpt.{index,data-00000-of-00001}
  bert_config.json  vocab.txt
"""

import contextlib
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator

import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import beside
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import source as source_lib
from mobilebert_tf.checkpoints import tensorflow_files
from mobilebert_tf.checkpoints import weight as weight_lib
from mobilebert_tf.modeling import config as config_lib

CHECKPOINT_NAME = "mobilebert_variables.ckpt"
_ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")
_CHUNK = 1 << 20

_WANTED_FILE = re.compile(
    r".*\.(index|data-\d{5}-of-\d{5})|bert_config\.json|vocab\.txt|checkpoint"
)
_FAKE_QUANTISATION = re.compile(r".*FakeQuant.*/(min|max)$")
# LAMB's slots are called adam_m and adam_v too.
_KINDS = (
    ("optimizer slots", re.compile(r".*/(adam_[mv]|Adam|Momentum)(_\d+)?$")),
    ("step counters", re.compile(r"(.*/)?(global_step|beta[12]_power)$")),
    ("fake-quantisation ranges", _FAKE_QUANTISATION),
    ("distillation norms", re.compile(r"hidden_distill_\d+/.*")),
    ("teacher", re.compile(r"teacher/.*")),
)
_QUANTISATION_NOTE = (
    "fake-quantisation ranges found: the official quantisation-aware code of "
    '2021 trained with attention_mask_type "multiplicative", the config says '
    '"additive"'
)


def is_archive(path: str) -> bool:
    """Returns whether `path` looks like an archive, if not like a folder."""
    return path.endswith(_ARCHIVE_SUFFIXES) and not os.path.isdir(path)


def read(path: str, options: source_lib.Options) -> checkpoint_lib.Checkpoint:
    """Reads a TF1 checkpoint.

    Args:
        path: the published archive, its folder (of several checkpoints the
            newest), or a checkpoint prefix.
        options: see source.Options; `scope` "teacher" reads the teacher of a
            distillation checkpoint.

    Raises:
        ValueError: if the checkpoint, its config or its vocabulary is absent
            or damaged, or they do not fit together.
    """
    with _unpacked(path) as unpacked:
        prefix = tensorflow_files.find_prefix(unpacked)
        reader = tensorflow_files.Reader(prefix)
        if reader.is_object_based:
            raise ValueError(
                f"--input={path}: expected a TF1 checkpoint, got the objects "
                "of TF2; use --from=garden or --from=mobilebert_tf"
            )
        folder = os.path.dirname(prefix)
        config = beside.read_config(folder, path, options)
        vocabulary = beside.read_vocabulary(folder, options)
        return source_lib.assemble(
            _make_source(path, reader, config, vocabulary, options.scope),
            options,
        )


def write(
    checkpoint: checkpoint_lib.Checkpoint, folder: str
) -> checkpoint_lib.Written:
    """Writes the checkpoint files, bert_config.json and vocab.txt."""
    tensors = checkpoint.values
    tf.raw_ops.SaveV2(
        prefix=os.path.join(folder, CHECKPOINT_NAME),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    beside.write(checkpoint, folder)
    return checkpoint_lib.Written()


def _make_source(path, reader, config, vocabulary, scope):
    prefix = f"{scope.strip('/')}/" if scope else ""
    head, num_labels = _find_head(reader.shapes, prefix)
    notes = ()
    quantised = any(map(_FAKE_QUANTISATION.match, reader.shapes))
    if quantised and config.attention_mask_type == config_lib.ADDITIVE_MASK:
        notes = (_QUANTISATION_NOTE,)
    return source_lib.Source(
        path=path,
        format=weight_lib.TF1,
        config=config,
        info=source_lib.make_info(config, head, num_labels),
        shapes=reader.shapes,
        locate=lambda key: prefix + key,
        read=reader.read,
        is_backbone=lambda name: name.startswith(f"{prefix}bert/"),
        kind=lambda name: _kind(name, prefix),
        vocabulary=vocabulary,
        notes=notes,
    )


def _find_head(shapes, prefix):
    """Returns head and number of labels."""

    def has(name):
        return any(key.startswith(prefix + name) for key in shapes)

    if has("cls/squad/"):
        return model_directory.QUESTION_ANSWERING, 0
    weights = shapes.get(f"{prefix}output_weights")
    if weights:
        return model_directory.SEQUENCE_CLASSIFICATION, weights[0]
    if has("cls/predictions/"):
        if has("cls/seq_relationship/"):
            return model_directory.PRETRAINING, 0
        return model_directory.MASKED_LM, 0
    if has("cls/seq_relationship/"):
        return model_directory.NEXT_SENTENCE, 0
    return model_directory.ENCODER, 0


def _kind(name, prefix):
    for kind, pattern in _KINDS:
        if pattern.match(name.removeprefix(prefix)):
            return kind
    if not name.startswith(prefix):
        return f"outside of {prefix}"
    return None


@contextlib.contextmanager
def _unpacked(path) -> Iterator[str]:
    """Yields a path that is no archive: of the files we know, by name only.

    Folders, links and paths in the archive are not followed, so it cannot
    write elsewhere.
    """
    if not is_archive(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    name = os.path.basename(member.name)
                    if member.isfile() and _WANTED_FILE.fullmatch(name):
                        _unpack(archive, member, folder, path)
                # The checksum of the compression stands behind the last byte.
                while archive.fileobj.read(_CHUNK):
                    pass
        except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
            raise ValueError(f"--input={path}: {error}") from error
        try:
            yield folder
        except ValueError as error:
            # The user has never seen the temporary folder.
            message = str(error).replace(folder, path)
            raise ValueError(message) from error


def _unpack(archive, member, folder, path):
    target = os.path.join(folder, os.path.basename(member.name))
    if os.path.exists(target):
        raise ValueError(
            f"--input={path}: holds {os.path.basename(target)} twice; unpack "
            "it and give one folder"
        )
    with archive.extractfile(member) as stream, open(target, "wb") as copy:
        shutil.copyfileobj(stream, copy)
