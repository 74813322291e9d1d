"""Reads TFRecords of token sequences that are not masked yet.

`create_pretraining_data --do_masking=false` writes them. They are read as the
stream of `pretraining.make_dataset` and masked by `dynamic_masking`.
"""

from collections.abc import Sequence

import tensorflow as tf

from mobilebert_tf.data import pretraining
from mobilebert_tf.data import text

FEATURES = {
    name: pretraining.FEATURES[name]
    for name in (
        "input_ids",
        "input_mask",
        "segment_ids",
        "next_sentence_labels",
    )
}


def make_dataset(
    input_files: Sequence[str],
    max_seq_length: int,
    batch_size: int,
    *,
    is_training: bool,
    seed: int,
    start_batch: int = 0,
    drop_remainder: bool = True,
    vocab_size: int | None = None,
) -> tf.data.Dataset:
    """Returns batches of sequences to mask.

    Args:
        input_files: paths or globs.
        max_seq_length: S, as the files were made.
        batch_size: B.
        is_training: endless and shuffled, or one pass in order.
        seed: of the shuffling.
        start_batch: batches to skip.
        drop_remainder: whether to drop the last, smaller batch.
        vocab_size: if given, token ids are checked against it.

    Returns:
        A dataset of dicts: `input_word_ids`, `input_mask`, `input_type_ids`
        int32 [B, S], `next_sentence_labels` int32 [B, 1].

    Raises:
        ValueError: as `pretraining.make_dataset`; also if the first record of
            a file is masked already.
    """
    dataset = pretraining.make_dataset(
        input_files,
        max_seq_length=max_seq_length,
        max_predictions_per_seq=0,
        batch_size=batch_size,
        is_training=is_training,
        seed=seed,
        start_batch=start_batch,
        drop_remainder=drop_remainder,
        vocab_size=vocab_size,
        features=FEATURES,
    )
    for path in text.expand(input_files):
        _check_not_masked(path)
    return dataset


def _check_not_masked(path):
    record = next(iter(tf.data.TFRecordDataset(path).take(1))).numpy()
    names = tf.train.Example.FromString(record).features.feature
    masked = sorted(set(names) & set(pretraining.FEATURES) - set(FEATURES))
    if masked:
        raise ValueError(
            f"{path}: got masked records ({', '.join(masked)}), expected "
            "records made with --do_masking=false, or data_format=examples"
        )
