"""The pre-training data that a configuration describes."""

import contextlib
import functools
import itertools
import json
import os
from collections.abc import Mapping

import tensorflow as tf

from mobilebert_tf import files
from mobilebert_tf import tokenization
from mobilebert_tf.data import dynamic_masking
from mobilebert_tf.data import pretraining
from mobilebert_tf.data import raw_text
from mobilebert_tf.data import record_files
from mobilebert_tf.data import text
from mobilebert_tf.data import token_records
from mobilebert_tf.experiments import model_config
from mobilebert_tf.experiments import pretraining_config

EXAMPLES = "examples"
TOKENS = "tokens"
TEXT = "text"
FORMATS = (EXAMPLES, TOKENS, TEXT)

_FILES_RECORD = "training_files.json"


def make_dataset(
    data: pretraining_config.PretrainingDataConfig,
    model: model_config.ModelConfig,
    vocab_size: int,
    start_batch: int = 0,
    input_context: tf.distribute.InputContext | None = None,
) -> tf.data.Dataset:
    """Returns batches of pre-training examples.

    Training data is endless and shuffled; other data is one pass in order,
    with a smaller last batch.

    Args:
        data: files, their format, lengths, seed and masking.
        model: vocabulary and case; used where the data is masked here.
        vocab_size: rows of the network's word table.
        start_batch: batches to skip: the stream continues as it would after
            so many batches.
        input_context: of the strategy, to return this worker's rows of each
            global batch; None is all.

    Returns:
        A dataset of dicts: `input_word_ids`, `input_mask`, `input_type_ids`
        int32 [B, S]; `masked_lm_positions`, `masked_lm_ids` int32 [B, P];
        `masked_lm_weights` float32 [B, P]; `next_sentence_labels` int32
        [B, 1].

    Raises:
        ValueError: for an unknown format, lengths or shares out of range, or
            files that are absent, damaged, empty or of another kind.
    """
    if data.data_format not in FORMATS:
        raise ValueError(
            f"data_format: got {data.data_format!r}, expected one of "
            f"{', '.join(FORMATS)}"
        )
    paths = data.input_path.split(",")
    stream = dict(
        batch_size=data.global_batch_size,
        is_training=data.is_training,
        start_batch=start_batch,
        drop_remainder=data.is_training,
    )
    if data.data_format == EXAMPLES:
        return pretraining.make_dataset(
            paths,
            max_seq_length=data.max_seq_length,
            max_predictions_per_seq=data.max_predictions_per_seq,
            seed=data.seed,
            vocab_size=vocab_size,
            input_context=input_context,
            **stream,
        )
    dynamic_masking.check_lengths(
        data.max_seq_length, data.max_predictions_per_seq
    )
    tokenizer = _load_tokenizer(model)
    masker = dynamic_masking.DynamicMasker(
        tokenizer,
        data.max_predictions_per_seq,
        dynamic_masking.MaskingOptions(**data.masking.as_dict()),
        data.seed,
    )
    if data.data_format == TOKENS:
        batches = token_records.make_dataset(
            paths,
            max_seq_length=data.max_seq_length,
            seed=data.seed,
            vocab_size=vocab_size,
            **stream,
        )
    else:
        batches = raw_text.make_dataset(
            paths,
            tokenizer,
            raw_text.PairOptions(
                data.max_seq_length, data.text.short_seq_prob, data.seed
            ),
            text_format=data.text.input_format,
            **stream,
        )
    return dynamic_masking.apply(
        batches, masker, data.global_batch_size, start_batch, input_context
    )


def check_continues(
    data: Mapping[str, pretraining_config.PretrainingDataConfig],
    model_dir: str,
    output_dir: str,
) -> None:
    """Checks that the training files are those that a run began with.

    The order of the data is a function of the files: with one more, or one
    that was written anew, a run would not go on where it was. They may lie
    elsewhere.

    Args:
        data: flag of the files to the data set; evaluation may change.
        model_dir: folder of the run, to read the record from.
        output_dir: folder to write it to.

    Raises:
        ValueError: naming the first difference.
    """
    record = {
        flag: [[os.path.basename(path), size] for path, size in _sizes(each)]
        for flag, each in data.items()
        if each.is_training
    }
    path = os.path.join(model_dir, _FILES_RECORD)
    if not os.path.exists(path):
        files.write_text(
            os.path.join(output_dir, _FILES_RECORD), json.dumps(record) + "\n"
        )
        return
    with open(path, encoding="utf-8") as stream:
        before = json.load(stream)
    for flag, now in record.items():
        for old, new in itertools.zip_longest(before.get(flag, []), now):
            if old != new:
                raise ValueError(
                    f"--{flag}: the run of {model_dir} began with other files: "
                    f"got {_describe(new)}, expected {_describe(old)}; choose "
                    "another --model_dir"
                )


def _sizes(data):
    """Yields (path, records) of each file, of raw text (path, bytes)."""
    paths = text.expand(data.input_path.split(","))
    if data.data_format == TEXT:
        sizes = [tf.io.gfile.stat(path).length for path in paths]
    else:
        sizes = record_files.count(paths)
    return zip(paths, sizes, strict=True)


def _describe(file):
    return f"{file[0]} of size {file[1]}" if file else "no more"


def named_damage(
    data: pretraining_config.PretrainingDataConfig, vocab_size: int
) -> contextlib.AbstractContextManager:
    """Says which record is at fault when reading fails within the block.

    Args:
        data: as of make_dataset. Raw text has no records to name.
        vocab_size: likewise.
    """
    if data.data_format == TEXT:
        return contextlib.nullcontext()
    is_masked = data.data_format == EXAMPLES
    return pretraining.named_damage(
        data.input_path.split(","),
        data.max_seq_length,
        data.max_predictions_per_seq,
        vocab_size,
        pretraining.FEATURES if is_masked else token_records.FEATURES,
    )


def _load_tokenizer(model):
    """Loads the vocabulary, once for each content of the file."""
    files.require_file(model.vocab_file, "vocab_file")
    stat = tf.io.gfile.stat(model.vocab_file)
    return _load_version(
        model.vocab_file, stat.mtime_nsec, stat.length, model.lower_case
    )


@functools.lru_cache(maxsize=8)
def _load_version(path, mtime_nsec, length, lower_case):
    del mtime_nsec, length  # Keys of the cache only.
    return tokenization.WordPieceTokenizer(path, lower_case)
