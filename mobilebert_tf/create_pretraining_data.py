r"""Turns text files into pre-training TFRecords.

Example, with a vocabulary learned from the text and 3 % of it held out:

    python -m mobilebert_tf.create_pretraining_data \
      --input_file='books/*.txt' --output_file=/tmp/books/train.tfrecord \
      --learn_vocab_size=8000 --output_vocab_file=/tmp/books/vocab.txt \
      --held_out_fraction=0.03 --held_out_output_file=/tmp/books/eval.tfrecord

The flags that BERT's script has mean the same here. The files depend on text,
flags and seed, not on the number of processes; a run that was killed is
continued by the same command. docs/pretraining_data.md says more.
"""

import dataclasses
import importlib.util
import itertools
import os
import shlex
import time

import tensorflow as tf
from absl import flags

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import tokenization
from mobilebert_tf.data import masking
from mobilebert_tf.data import pretraining_builder
from mobilebert_tf.data import text
from mobilebert_tf.data import vocabulary
from mobilebert_tf.data.pretraining_examples import local_runner
from mobilebert_tf.data.pretraining_examples import stages
from mobilebert_tf.data.pretraining_examples import text_slices
from mobilebert_tf.data.pretraining_examples import work_folder

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
_DO_MASKING = flags.DEFINE_bool(
    "do_masking",
    True,
    "Choose and corrupt tokens. Without it the records are tokens only, for "
    "masking while training.",
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


_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers",
    None,
    "Processes. All cores if not given, fewer for little text.",
    lower_bound=1,
)
_RUNNER = flags.DEFINE_string(
    "runner",
    None,
    "Run as an Apache Beam pipeline on this runner (DirectRunner, "
    "FlinkRunner, DataflowRunner, ...) instead.",
)
_BEAM_OPTIONS = flags.DEFINE_string(
    "beam_options",
    "",
    "Options of the Beam pipeline, as on a command line, such as "
    "'--direct_running_mode=multi_processing --direct_num_workers=2'.",
)


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
        do_masking=_DO_MASKING.value,
    )
    _check_flags()
    outputs = {
        pretraining_builder.TRAINING: pretraining_builder.shard_paths(
            _OUTPUT_FILE.value, _NUM_SHARDS.value
        )
    }
    if _HELD_OUT_FRACTION.value:
        outputs[pretraining_builder.HELD_OUT] = [_HELD_OUT_OUTPUT_FILE.value]
    _check_outputs(outputs)
    inputs = text.expand(_INPUT_FILE.value)
    if _VOCAB_FILE.value is not None:
        files.require_file(_VOCAB_FILE.value, "vocab_file")
        tokenization.load_vocabulary(_VOCAB_FILE.value)
    # The vocabulary follows.
    job = stages.Job(
        tuple(text_slices.cut(inputs, _INPUT_FORMAT.value)),
        b"",
        _DO_LOWER_CASE.value,
        options,
        _HELD_OUT_FRACTION.value,
    )
    run = _run_locally if _RUNNER.value is None else _run_on_beam
    counts, statistics = run(job, inputs, outputs)
    print(
        f"corpus: {len(inputs)} files, {counts['documents']:,} documents, "
        f"{counts['sentences']:,} sentences, {counts['tokens']:,} tokens"
    )
    for split in job.splits:
        _report(split, statistics[split], outputs[split])
    print(f"done in {time.monotonic() - start:.1f} s")


def _run_locally(job, inputs, outputs):
    folder = work_folder.WorkFolder(f"{_OUTPUT_FILE.value}.work")
    source = _LEARN_VOCAB_SIZE.value or _read_bytes(_VOCAB_FILE.value)
    identity = job, source, sorted(outputs.items()), _versions(inputs)
    with folder.open(identity):
        if _LEARN_VOCAB_SIZE.value is not None:
            learned = folder.file("vocabulary", "txt")
            if folder.counts("vocabulary") is None:
                _learn_vocabulary(job, learned)
                folder.finish("vocabulary", {})
            files.copy(learned, _OUTPUT_VOCAB_FILE.value)
        job = _with_vocabulary(job)
        num_workers = _NUM_WORKERS.value or local_runner.default_workers(job)
        result = local_runner.run(job, outputs, folder, num_workers)
        folder.remove()
    return result


def _run_on_beam(job, inputs, outputs):
    del inputs  # The slices name them.
    if importlib.util.find_spec("apache_beam") is None:
        raise ValueError(
            f"--runner={_RUNNER.value}: apache-beam is not installed: "
            "pip install mobilebert-tf[beam]"
        )
    # Only here: Beam is an extra, and takes seconds to import.
    from mobilebert_tf.data.pretraining_examples import beam_runner

    if _LEARN_VOCAB_SIZE.value is not None:
        _learn_vocabulary(job, _OUTPUT_VOCAB_FILE.value)
    return beam_runner.run(
        _with_vocabulary(job),
        outputs,
        f"{_OUTPUT_FILE.value}.beam",
        [f"--runner={_RUNNER.value}", *shlex.split(_BEAM_OPTIONS.value)],
    )


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


def _check_outputs(outputs):
    """Checks that every file can be written and none replaces another."""
    flagged = [
        ("output_file", path) for path in outputs[pretraining_builder.TRAINING]
    ]
    if _HELD_OUT_OUTPUT_FILE.value:
        flagged.append(("held_out_output_file", _HELD_OUT_OUTPUT_FILE.value))
    if _OUTPUT_VOCAB_FILE.value:
        flagged.append(("output_vocab_file", _OUTPUT_VOCAB_FILE.value))
    flag_of = {}
    for flag, path in flagged:
        # A runner may write where only its file systems lead.
        if _RUNNER.value is None or "://" not in path:
            files.require_writable_file(path, flag)
        other = flag_of.setdefault(os.path.realpath(path), flag)
        if other != flag:
            raise ValueError(
                f"--{flag}={path}: --{other} writes the same file; expected "
                "another"
            )


def _learn_vocabulary(job, path):
    documents = itertools.chain.from_iterable(
        part.documents() for part in job.slices
    )
    tokens = vocabulary.learn(
        documents, _LEARN_VOCAB_SIZE.value, job.lower_case
    )
    vocabulary.write(tokens, path)
    print(f"{_OUTPUT_VOCAB_FILE.value}: learned {len(tokens):,} tokens")


def _with_vocabulary(job):
    path = _VOCAB_FILE.value or _OUTPUT_VOCAB_FILE.value
    return dataclasses.replace(job, vocabulary=_read_bytes(path))


def _read_bytes(path):
    with open(path, "rb") as stream:
        return stream.read()


def _versions(paths):
    """Returns what changes when a file does."""
    stats = [tf.io.gfile.stat(path) for path in paths]
    return [(stat.length, stat.mtime_nsec) for stat in stats]


def _report(split, statistics, paths):
    shown = paths[0] if len(paths) == 1 else f"{paths[0]} ... {len(paths)}"
    print(
        f"{split.replace('_', ' ')}: {statistics.instances:,} instances -> "
        f"{shown}"
    )
    for row, value in statistics.table():
        print(f"  {row:<26} {value:>12}")


if __name__ == "__main__":
    cli.run(main)
