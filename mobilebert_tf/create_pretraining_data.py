r"""Turns text files into pre-training TFRecords.

Example, with a vocabulary learned from the text and 3 % of it held out:

    python -m mobilebert_tf.create_pretraining_data \
      --input_file='books/*.txt' --output_file=/tmp/books/train.tfrecord \
      --learn_vocab_size=8000 --output_vocab_file=/tmp/books/vocab.txt \
      --held_out_fraction=0.03 --held_out_output_file=/tmp/books/eval.tfrecord

The flags that BERT's script has mean the same here.
"""

import dataclasses
import itertools
import os
import time

from absl import flags
from absl import logging

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import tokenization
from mobilebert_tf.data import corpus as corpus_lib
from mobilebert_tf.data import masking
from mobilebert_tf.data import pretraining_builder
from mobilebert_tf.data import text
from mobilebert_tf.data import vocabulary

_INPUT_FILE = flags.DEFINE_list(
    "input_file", [], "Text files: paths or globs, separated by commas."
)
_INPUT_FORMAT = flags.DEFINE_enum(
    "input_format",
    text.AUTO,
    text.FORMATS,
    "sentences: one per line, empty line between documents. book: "
    "hard-wrapped paragraphs, three empty lines between documents. auto: "
    "decided per file and logged.",
)
_OUTPUT_FILE = flags.DEFINE_string(
    "output_file",
    None,
    "TFRecord file to write; with --num_shards, the prefix of the shards.",
)
_NUM_SHARDS = flags.DEFINE_integer(
    "num_shards", 1, "Number of output files.", lower_bound=1
)
_HELD_OUT_FRACTION = flags.DEFINE_float(
    "held_out_fraction",
    0.0,
    "Share of the text, in whole documents, kept for evaluation.",
    lower_bound=0.0,
    upper_bound=0.9,
)
_HELD_OUT_OUTPUT_FILE = flags.DEFINE_string(
    "held_out_output_file",
    None,
    "TFRecord file for the documents held out, one pass over them.",
)
_VOCAB_FILE = flags.DEFINE_string("vocab_file", None, "Vocabulary to use.")
_LEARN_VOCAB_SIZE = flags.DEFINE_integer(
    "learn_vocab_size",
    None,
    "Instead of --vocab_file: learn at most this many tokens from the text.",
)
_OUTPUT_VOCAB_FILE = flags.DEFINE_string(
    "output_vocab_file", None, "Where to write the learned vocabulary."
)
_DO_LOWER_CASE = flags.DEFINE_bool(
    "do_lower_case", True, "Lower-case and strip accents (uncased models)."
)
_DO_WHOLE_WORD_MASK = flags.DEFINE_bool(
    "do_whole_word_mask", False, "Mask all pieces of a word or none."
)
_MAX_SEQ_LENGTH = flags.DEFINE_integer(
    "max_seq_length", 128, "Tokens per instance, special ones included."
)
_MAX_PREDICTIONS_PER_SEQ = flags.DEFINE_integer(
    "max_predictions_per_seq", 20, "Largest number of tokens to predict."
)
_MASKED_LM_PROB = flags.DEFINE_float(
    "masked_lm_prob", 0.15, "Share of tokens to predict."
)
_SHORT_SEQ_PROB = flags.DEFINE_float(
    "short_seq_prob", 0.1, "Share of documents cut into shorter instances."
)
_DUPE_FACTOR = flags.DEFINE_integer(
    "dupe_factor", 10, "Passes over the text, each masked differently."
)
_RANDOM_SEED = flags.DEFINE_integer("random_seed", 12345, "Of all choices.")


def main(_):
    start = time.monotonic()
    options = pretraining_builder.BuilderOptions(
        masking=masking.MaskingOptions(
            max_seq_length=_MAX_SEQ_LENGTH.value,
            max_predictions_per_seq=_MAX_PREDICTIONS_PER_SEQ.value,
            masked_lm_prob=_MASKED_LM_PROB.value,
            whole_words=_DO_WHOLE_WORD_MASK.value,
        ),
        short_seq_prob=_SHORT_SEQ_PROB.value,
        dupe_factor=_DUPE_FACTOR.value,
        random_seed=_RANDOM_SEED.value,
    )
    _check_flags()
    train_paths = pretraining_builder.shard_paths(
        _OUTPUT_FILE.value, _NUM_SHARDS.value
    )
    _check_outputs(train_paths)
    inputs = text.expand(_INPUT_FILE.value)
    tokenizer = _make_tokenizer(inputs)
    corpus = corpus_lib.tokenize(_documents(inputs), tokenizer)
    print(
        f"corpus: {len(inputs)} files, {corpus.num_documents:,} documents, "
        f"{corpus.num_sentences:,} sentences, {len(corpus.tokens):,} tokens"
    )
    if _HELD_OUT_FRACTION.value:
        corpus, held_out = corpus_lib.split(
            corpus, _HELD_OUT_FRACTION.value, options.random_seed
        )
        _build(
            "held out",
            held_out,
            tokenizer,
            dataclasses.replace(options, dupe_factor=1),
            [_HELD_OUT_OUTPUT_FILE.value],
        )
    _build("training", corpus, tokenizer, options, train_paths)
    print(f"done in {time.monotonic() - start:.1f} s")


def _check_flags():
    if not _OUTPUT_FILE.value:
        raise ValueError("--output_file is required: got nothing")
    if not _INPUT_FILE.value:
        raise ValueError("--input_file is required: got nothing")
    if (_VOCAB_FILE.value is None) == (_LEARN_VOCAB_SIZE.value is None):
        raise ValueError(
            "expected one of --vocab_file and --learn_vocab_size, got "
            + ("neither" if _VOCAB_FILE.value is None else "both")
        )
    if (_LEARN_VOCAB_SIZE.value is None) != (_OUTPUT_VOCAB_FILE.value is None):
        raise ValueError(
            "--learn_vocab_size and --output_vocab_file go together: got one "
            "of them"
        )
    if bool(_HELD_OUT_FRACTION.value) != bool(_HELD_OUT_OUTPUT_FILE.value):
        raise ValueError(
            "--held_out_fraction and --held_out_output_file go together: got "
            "one of them"
        )


def _check_outputs(train_paths):
    """Checks that every file can be written and none replaces another."""
    outputs = [("output_file", path) for path in train_paths]
    if _HELD_OUT_OUTPUT_FILE.value:
        outputs.append(("held_out_output_file", _HELD_OUT_OUTPUT_FILE.value))
    if _OUTPUT_VOCAB_FILE.value:
        outputs.append(("output_vocab_file", _OUTPUT_VOCAB_FILE.value))
    flag_of = {}
    for flag, path in outputs:
        files.require_writable_file(path, flag)
        other = flag_of.setdefault(os.path.realpath(path), flag)
        if other != flag:
            raise ValueError(
                f"--{flag}={path}: --{other} writes the same file; expected "
                "another"
            )


def _documents(inputs):
    return itertools.chain.from_iterable(
        text.read_documents(path, _INPUT_FORMAT.value) for path in inputs
    )


def _make_tokenizer(inputs):
    path = _VOCAB_FILE.value
    if path is None:
        path = _OUTPUT_VOCAB_FILE.value
        tokens = vocabulary.learn(
            _documents(inputs), _LEARN_VOCAB_SIZE.value, _DO_LOWER_CASE.value
        )
        vocabulary.write(tokens, path)
        print(f"{path}: learned {len(tokens):,} tokens")
    else:
        files.require_file(path, "vocab_file")
    return tokenization.WordPieceTokenizer(path, _DO_LOWER_CASE.value)


def _build(name, corpus, tokenizer, options, paths):
    logging.info("%s: %d documents", name, corpus.num_documents)
    start = time.monotonic()
    statistics = pretraining_builder.build(corpus, tokenizer, options, paths)
    seconds = time.monotonic() - start
    shown = paths[0] if len(paths) == 1 else f"{paths[0]} ... {len(paths)}"
    print(
        f"{name}: {statistics.instances:,} instances from "
        f"{corpus.num_documents:,} documents in {seconds:.1f} s "
        f"({statistics.instances / seconds:,.0f}/s) -> {shown}"
    )
    for row, value in statistics.table():
        print(f"  {row:<26} {value:>12}")


if __name__ == "__main__":
    cli.run(main)
