r"""Pre-training data: this package against the Model Garden's script.

    python benchmarks/create_pretraining_data.py --report_file=out/data.json

Both make instances of the same books (one sentence per line, converted
beforehand), with the same vocabulary and settings, each as a command of its
own on one core, in turns. Throughput is instances per second of CPU time
beyond that of the same command on a text of a few lines: starting Python and
importing TensorFlow takes as long as thousands of instances. Then the
statistics of what both wrote, side by side. Fails if the throughput is less
than 8 times the Garden's, or a statistic differs.

The books are those of the folder MOBILEBERT_DATA (../shared/data).
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import flags

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import text_table
from mobilebert_tf import tokenization
from mobilebert_tf.data import pretraining
from mobilebert_tf.data import text

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


MIN_RATIO = 8.0

OURS = "mobilebert_tf"
GARDEN = "Model Garden"
COMMANDS = {
    OURS: ["mobilebert_tf.create_pretraining_data", "--num_workers=1"],
    GARDEN: ["official.nlp.data.create_pretraining_data"],
}

# Largest difference of a statistic between the two, relative for instances
# and length. Whole documents aim at shorter lengths, so all but the masking
# follow the few draws that say which; masking is drawn for every token.
TOLERANCES = {
    "instances": 0.03,
    "predicted tokens": 0.002,
    "replaced by [MASK]": 0.003,
    "kept": 0.003,
    "replaced at random": 0.003,
    "random next": 0.02,
    "mean length": 0.03,
    "of full length": 0.05,
    "shorter than a half": 0.03,
    "share of segment B": 0.02,
}
_RELATIVE = ("instances", "mean length")


def statistics(path: str, tokenizer) -> dict[str, float]:
    """Returns the statistics of a TFRecord file, by name."""
    length = flags.FLAGS.max_seq_length
    batches = pretraining.make_dataset(
        [path],
        length,
        flags.FLAGS.max_predictions_per_seq,
        1024,
        is_training=False,
        seed=0,
        drop_remainder=False,
    )
    total = np.zeros(10)
    for batch in batches.as_numpy_iterator():
        lengths = batch["input_mask"].sum(axis=1)
        weights = batch["masked_lm_weights"] > 0
        inputs = np.take_along_axis(
            batch["input_word_ids"], batch["masked_lm_positions"], axis=1
        )[weights]
        targets = batch["masked_lm_ids"][weights]
        is_mask = inputs == tokenizer.mask_id
        is_kept = (inputs == targets) & ~is_mask
        total += [
            len(lengths),
            len(targets),
            is_mask.sum(),
            is_kept.sum(),
            (~is_mask & ~is_kept).sum(),
            batch["next_sentence_labels"].sum(),
            lengths.sum(),
            (lengths == length).sum(),
            (lengths < length / 2).sum(),
            batch["input_type_ids"].sum(),
        ]
    instances, predictions, tokens = total[0], total[1], total[6]
    divisors = [
        1,
        tokens - 3 * instances,  # [CLS], [SEP], [SEP] are never predicted
        predictions,
        predictions,
        predictions,
        instances,
        instances,
        instances,
        instances,
        tokens,
    ]
    return dict(zip(TOLERANCES, (total / divisors).tolist(), strict=True))


def measure(name: str, input_file: str, output: str, vocab_file: str) -> dict:
    """Runs one of the commands; returns its seconds, CPU seconds and records.

    Raises:
        ValueError: if it fails, with its last line.
    """
    command = [
        sys.executable,
        "-m",
        *COMMANDS[name],
        f"--input_file={input_file}",
        f"--output_file={output}",
        f"--vocab_file={vocab_file}",
        f"--max_seq_length={flags.FLAGS.max_seq_length}",
        f"--max_predictions_per_seq={flags.FLAGS.max_predictions_per_seq}",
        f"--dupe_factor={flags.FLAGS.dupe_factor}",
    ]
    before = _children_cpu()
    start = time.monotonic()
    result = subprocess.run(command, capture_output=True, text=True)
    seconds = time.monotonic() - start
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["no message"]
        raise ValueError(f"{name}: {lines[-1]}")
    return {
        "seconds": seconds,
        "cpu_seconds": _children_cpu() - before,
        "instances": pretraining.count_records([output]),
    }


def _children_cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _write_sentences(paths, output):
    """Writes books as the Garden wants them: a sentence per line."""
    with open(output, "w", encoding="utf-8") as stream:
        for path in paths:
            for document in text.read_documents(path, text.BOOK):
                stream.write("\n".join(document) + "\n\n")


def throughput(runs: list[dict], startup: dict) -> dict[str, float]:
    """Returns the best figures of the runs of one command.

    Args:
        runs: from `measure`, on the books.
        startup: from `measure`, on a few lines.
    """
    cpu = min(run["cpu_seconds"] for run in runs)
    seconds = min(run["seconds"] for run in runs)
    instances = runs[0]["instances"]
    made = instances - startup["instances"]
    return {
        "instances": instances,
        "startup_cpu_seconds": startup["cpu_seconds"],
        "cpu_seconds": cpu,
        "seconds": seconds,
        "per_second_with_startup": instances / cpu,
        "per_second": made / (cpu - startup["cpu_seconds"]),
    }


def main(_):
    cores = sorted(os.sched_getaffinity(0))
    core = cores[-1] if flags.FLAGS.core is None else flags.FLAGS.core
    os.sched_setaffinity(0, {core})  # and all children
    vocab_file = files.require_file(
        os.path.join(flags.FLAGS.data_dir, "vocab", "vocab.txt"), "data_dir"
    )
    books = [
        files.require_file(
            os.path.join(
                flags.FLAGS.data_dir, "text", "gutenberg", f"{book}.txt"
            ),
            "books",
        )
        for book in flags.FLAGS.books
    ]
    tokenizer = tokenization.WordPieceTokenizer(vocab_file)
    with tempfile.TemporaryDirectory() as folder:
        inputs = os.path.join(folder, "books.txt")
        _write_sentences(books, inputs)
        few = os.path.join(folder, "few.txt")
        files.write_text(few, "One line.\nAnother.\n\nA second.\nDocument.\n")
        outputs = {
            name: os.path.join(folder, str(index))
            for index, name in enumerate(COMMANDS)
        }
        startup = {}
        runs = {name: [] for name in COMMANDS}
        for turn in range(flags.FLAGS.rounds):
            for name, output in outputs.items():
                if not turn:
                    startup[name] = measure(name, few, output, vocab_file)
                run = measure(name, inputs, output, vocab_file)
                runs[name].append(run)
                print(
                    f"turn {turn + 1}, {name}: {run['instances']:,} instances,"
                    f" {run['cpu_seconds']:.1f} s of CPU, "
                    f"{run['seconds']:.1f} s",
                    flush=True,
                )
        measured = {
            name: throughput(runs[name], startup[name]) for name in COMMANDS
        }
        described = {
            name: statistics(output, tokenizer)
            for name, output in outputs.items()
        }
    _report(measured, described)


def _report(measured, described):
    ours, theirs = measured[OURS], measured[GARDEN]
    ratio = ours["per_second"] / theirs["per_second"]
    with_startup = (
        ours["per_second_with_startup"] / theirs["per_second_with_startup"]
    )
    rows = [("", "start-up, s of CPU", "all, s of CPU", "instances/s")]
    for name, figures in measured.items():
        columns = "startup_cpu_seconds", "cpu_seconds", "per_second"
        rows.append((name, *(f"{figures[c]:,.1f}" for c in columns)))
    print(*text_table.lines(rows), "", sep="\n")
    rows = [("", *described)]
    for name in TOLERANCES:
        values = (described[side][name] for side in described)
        rows.append((name, *(f"{value:,.4f}" for value in values)))
    print(*text_table.lines(rows), "", sep="\n")
    differing = [name for name in TOLERANCES if not _equal(name, described)]
    print(f"ratio {ratio:.1f} (with start-up: {with_startup:.1f})")
    if flags.FLAGS.report_file:
        report = {
            "throughput": measured,
            "statistics": described,
            "ratio": ratio,
            "ratio_with_startup": with_startup,
        }
        files.write_text(flags.FLAGS.report_file, json.dumps(report, indent=2))
    if differing:
        raise ValueError(f"statistics differ: {', '.join(differing)}")
    if ratio < MIN_RATIO:
        raise ValueError(f"ratio: got {ratio:.2f}, expected {MIN_RATIO}")


def _equal(name, described):
    ours, theirs = (described[side][name] for side in (OURS, GARDEN))
    scale = theirs if name in _RELATIVE else 1
    return abs(ours - theirs) <= TOLERANCES[name] * scale


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_string(
        "data_dir",
        os.environ.get(
            "MOBILEBERT_DATA", os.path.join(_ROOT, "..", "shared", "data")
        ),
        "Folder with text/gutenberg and vocab/vocab.txt.",
    )
    flags.DEFINE_list(
        "books",
        ["pg1342", "pg84", "pg345", "pg174", "98-0", "2701-0"],
        "Names of books, without .txt.",
    )
    flags.DEFINE_integer(
        "dupe_factor", 10, "Passes over the text.", lower_bound=1
    )
    flags.DEFINE_integer("max_seq_length", 128, "Tokens per instance.")
    flags.DEFINE_integer(
        "max_predictions_per_seq", 20, "Largest number of tokens to predict."
    )
    flags.DEFINE_integer("rounds", 2, "Turns of each.", lower_bound=1)
    flags.DEFINE_integer("core", None, "Core to use; the last by default.")
    flags.DEFINE_string("report_file", None, "JSON file for the figures.")


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
