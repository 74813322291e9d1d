"""Vocabulary and casing of a Hugging Face folder."""

import json
import os

from mobilebert_tf import files
from mobilebert_tf import tokenization
from mobilebert_tf.checkpoints import beside
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import source as source_lib

_TOKENIZER_FILE = "tokenizer.json"
_TOKENIZER_CONFIG_FILE = "tokenizer_config.json"


def read(folder: str, options: source_lib.Options) -> tuple[bytes | None, bool]:
    """Returns the content of vocab.txt (None if unknown), and lower_case.

    Without vocab.txt the vocabulary is that of tokenizer.json.

    Raises:
        ValueError: if a file is malformed.
    """
    tokenizer = _read_json(folder, _TOKENIZER_FILE)
    settings = _read_json(folder, _TOKENIZER_CONFIG_FILE)
    normalizer = tokenizer.get("normalizer") or {}
    lower_case = settings.get(
        "do_lower_case", normalizer.get("lowercase", True)
    )
    vocabulary = beside.read_vocabulary(folder, options)
    if vocabulary is None and tokenizer:
        vocabulary = _vocabulary(
            tokenizer, os.path.join(folder, _TOKENIZER_FILE)
        )
    return vocabulary, bool(lower_case)


def write(checkpoint: checkpoint_lib.Checkpoint, folder: str) -> None:
    """Writes vocab.txt and tokenizer_config.json, if there is a vocabulary."""
    if checkpoint.vocabulary is None:
        return
    beside.write_vocabulary(checkpoint, folder)
    settings = {
        "tokenizer_class": "MobileBertTokenizer",
        "do_lower_case": checkpoint.lower_case,
        "model_max_length": checkpoint.config.max_position_embeddings,
        "pad_token": tokenization.PAD,
        "unk_token": tokenization.UNK,
        "cls_token": tokenization.CLS,
        "sep_token": tokenization.SEP,
        "mask_token": tokenization.MASK,
    }
    files.write_text(
        os.path.join(folder, _TOKENIZER_CONFIG_FILE),
        json.dumps(settings, indent=2) + "\n",
    )


def pad_token_id(checkpoint: checkpoint_lib.Checkpoint) -> int:
    """Returns the id of [PAD]; 0, as published, if there is no vocabulary."""
    lines = (checkpoint.vocabulary or b"").splitlines()
    pad = tokenization.PAD.encode()
    return lines.index(pad) if pad in lines else 0


def _read_json(folder, name):
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        return {}
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


def _vocabulary(tokenizer, path):
    """Returns vocab.txt as tokenizer.json tells it: token by id."""
    ids = (tokenizer.get("model") or {}).get("vocab")
    if not isinstance(ids, dict):
        raise ValueError(
            f"{path}: model.vocab: expected a mapping; give --vocab_file"
        )
    tokens = {number: token for token, number in ids.items()}
    for added in tokenizer.get("added_tokens") or ():
        tokens[added["id"]] = added["content"]
    if sorted(tokens) != list(range(len(tokens))):
        raise ValueError(
            f"{path}: ids are not 0 to {len(tokens) - 1}; give --vocab_file"
        )
    lines = "".join(f"{tokens[i]}\n" for i in range(len(tokens)))
    return lines.encode()
