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
    vocabulary = beside.read_vocabulary(folder, options)
    if vocabulary is None and tokenizer:
        vocabulary = _vocabulary(
            tokenizer, os.path.join(folder, _TOKENIZER_FILE)
        )
    lower_case = _get(settings, "do_lower_case", bool, folder)
    if lower_case is None:
        lower_case = (tokenizer.get("normalizer") or {}).get("lowercase")
    max_length = _get(settings, "model_max_length", int | float, folder) or 0
    return Tokenizer(
        vocabulary,
        lower_case is None or lower_case,
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
    return beside.read_json(path)


def _get(settings, key, kind, folder):
    """Returns a value, None if it is absent or null."""
    value = settings.get(key)
    if value is not None and not isinstance(value, kind):
        path = os.path.join(folder, _TOKENIZER_CONFIG_FILE)
        expected = getattr(kind, "__name__", "number")
        raise ValueError(f"{path}: {key}: expected a {expected}, got {value!r}")
    return value


def _vocabulary(tokenizer, path):
    """Returns vocab.txt as tokenizer.json tells it: token by id."""
    try:
        ids = tokenizer["model"]["vocab"]
        tokens = {number: token for token, number in ids.items()}
        for added in tokenizer.get("added_tokens") or ():
            tokens[added["id"]] = added["content"]
        expected = list(range(len(tokens)))
        if sorted(tokens) != expected:
            raise ValueError(f"ids are not 0 to {len(tokens) - 1}")
        lines = "".join(f"{tokens[i]}\n" for i in expected)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: no vocabulary ({error}); give --vocab_file"
        ) from error
    return lines.encode()
