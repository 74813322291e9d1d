"""Config and vocabulary files beside a checkpoint."""

import json
import os

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import source as source_lib
from mobilebert_tf.modeling import config as config_lib


def read_config(
    folder: str, path: str, options: source_lib.Options
) -> config_lib.MobileBertConfig:
    """Reads --config_file, or bert_config.json in `folder`.

    Args:
        folder: of the checkpoint.
        path: the checkpoint, for messages.
        options: from the user.

    Raises:
        ValueError: if there is none, or it is malformed or Hugging Face's.
    """
    config_file = find(
        folder, path, options.config_file, model_directory.CONFIG_FILE
    )
    fields = read_json(config_file)
    if "model_type" in fields:
        raise ValueError(
            f"{config_file}: model_type: expected a "
            f"{model_directory.CONFIG_FILE}, got Hugging Face's config.json"
        )
    return config_lib.MobileBertConfig.from_dict(fields, source=config_file)


def read_json(path: str) -> dict:
    """Reads a JSON object.

    Raises:
        ValueError: if the file is absent or holds anything else.
    """
    files.require_file(path, "config_file")
    with open(path, encoding="utf-8") as stream:
        try:
            fields = json.load(stream)
        except ValueError as error:
            raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(
            f"{path}: expected a JSON object, got {type(fields).__name__}"
        )
    return fields


def find(folder: str, path: str, config_file: str | None, name: str) -> str:
    """Returns `config_file` if given, else `name` in `folder`.

    Raises:
        ValueError: if there is no such file.
    """
    if config_file:
        return files.require_file(config_file, "config_file")
    found = os.path.join(folder, name)
    if not os.path.isfile(found):
        raise ValueError(
            f"--input={path}: no {name} beside it; give --config_file"
        )
    return found


def read_vocabulary(folder: str, options: source_lib.Options) -> bytes | None:
    """Reads --vocab_file, or vocab.txt in `folder`; None without both."""
    path = os.path.join(folder, model_directory.VOCAB_FILE)
    if options.vocab_file:
        path = files.require_file(options.vocab_file, "vocab_file")
    elif not os.path.isfile(path):
        return None
    with open(path, "rb") as stream:
        return stream.read()


def write(checkpoint: checkpoint_lib.Checkpoint, folder: str) -> None:
    """Writes bert_config.json, and vocab.txt if known."""
    checkpoint.config.to_json_file(
        os.path.join(folder, model_directory.CONFIG_FILE)
    )
    write_vocabulary(checkpoint, folder)


def write_vocabulary(
    checkpoint: checkpoint_lib.Checkpoint, folder: str
) -> None:
    """Writes vocab.txt if known."""
    if checkpoint.vocabulary is not None:
        files.write_bytes(
            os.path.join(folder, model_directory.VOCAB_FILE),
            checkpoint.vocabulary,
        )
