"""Vocabulary and casing of a Hugging Face folder."""

import dataclasses
import json
import os

from mobilebert_tf import files
from mobilebert_tf import tokenization
from mobilebert_tf.checkpoints import beside
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import source as source_lib

_TOKENIZER_FILE = "tokenizer.json"
_TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
_NO_MAX_LENGTH = 1e9


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """What a folder says about its tokenizer.

    Attributes:
        vocabulary: content of vocab.txt, None if unknown.
        lower_case: bool.
        max_length: int, 0 if unknown. Tokens that texts are padded or cut to.
    """

    vocabulary: bytes | None
    lower_case: bool
    max_length: int


def read(folder: str, options: source_lib.Options) -> Tokenizer:
    """Reads the tokenizer's files, as far as they are there.

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
    max_length = settings.get("model_max_length", 0)
    return Tokenizer(
        vocabulary,
        bool(lower_case),
        # Hugging Face writes 1e30 where it knows none.
        int(max_length) if 0 < max_length < _NO_MAX_LENGTH else 0,
    )


def write(checkpoint: checkpoint_lib.Checkpoint, folder: str) -> None:
    """Writes vocab.txt and tokenizer_config.json, if there is a vocabulary."""
    if checkpoint.vocabulary is None:
        return
    beside.write_vocabulary(checkpoint, folder)
    settings = {
        "tokenizer_class": "MobileBertTokenizer",
        "do_lower_case": checkpoint.lower_case,
        "model_max_length": checkpoint.info.max_seq_length,
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
