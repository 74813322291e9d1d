r"""SQuAD features: this package against the Model Garden's squad_lib.

    python benchmarks/squad_features.py --report_file=out/squad.json

Both read dev-v1.1 (10,570 questions) and make the windows of evaluation, in
turns, in one process on one core; ours also with --num_workers processes.
The first turn compares the windows, field by field. A row has the best of its
turns. Fails if the windows differ, if ours take more than 60 s with
--num_workers, or have less than 5 times the Garden's questions per second of
CPU time on one core.

The questions are those of the folder MOBILEBERT_DATA (../shared/data).
"""

import json
import os
import resource
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from absl import flags
from absl import logging
from official.nlp.data import squad_lib
from official.nlp.tools import tokenization as garden_tokenization

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import text_table
from mobilebert_tf.data import squad
from mobilebert_tf.data import squad_features
from mobilebert_tf.data.pretraining_examples import worker_processes

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

MAX_SECONDS = 60.0
MIN_RATIO = 5.0

OURS = "mobilebert_tf"
GARDEN = "Model Garden"


def make_ours(
    path: str, vocab_file: str, num_workers: int
) -> squad_features.Features:
    """Returns our windows of a file."""
    maker = squad_features.WindowMaker(
        vocab_file, squad_features.WindowOptions()
    )
    examples = squad.read_examples(path)
    return squad_features.all_features(examples, maker, num_workers)


def make_garden(path: str, vocab_file: str) -> list[squad_lib.InputFeatures]:
    """Returns the Garden's windows of a file."""
    options = squad_features.WindowOptions()
    windows = []

    def keep(window, is_padding):
        if not is_padding:
            windows.append(window)

    squad_lib.convert_examples_to_features(
        squad_lib.read_squad_examples(
            path, is_training=False, version_2_with_negative=False
        ),
        garden_tokenization.FullTokenizer(vocab_file),
        options.max_seq_length,
        options.doc_stride,
        options.max_query_length,
        is_training=False,
        output_fn=keep,
        batch_size=1,
    )
    return windows


def require_same(
    ours: squad_features.Features,
    garden: Sequence[squad_lib.InputFeatures],
) -> None:
    """Raises ValueError at the first window that differs."""
    if len(ours["unique_ids"]) != len(garden):
        raise ValueError(
            f"got {len(ours['unique_ids'])} windows, expected the Garden's "
            f"{len(garden)}"
        )
    inputs = squad_features.model_inputs(ours)
    for row, window in enumerate(garden):
        places = list(window.token_to_orig_map)
        for name, got, expected in (
            ("unique_id", ours["unique_ids"][row], window.unique_id),
            ("example_index", ours["example_index"][row], window.example_index),
            ("input_ids", inputs["input_word_ids"][row], window.input_ids),
            ("input_mask", inputs["input_mask"][row], window.input_mask),
            ("segment_ids", inputs["input_type_ids"][row], window.segment_ids),
            (
                "token_to_orig_map",
                ours["token_to_word"][row][places],
                list(window.token_to_orig_map.values()),
            ),
            (
                "token_is_max_context",
                ours["token_is_max_context"][row][places],
                list(window.token_is_max_context.values()),
            ),
        ):
            if not np.array_equal(got, expected):
                raise ValueError(f"window {row}: {name} is not the Garden's")


def measure(make: Callable[[], object]) -> tuple[dict[str, float], object]:
    """Returns seconds and CPU seconds (of children too), and what is made."""
    cpu = _cpu_seconds()
    start = time.monotonic()
    made = make()
    seconds = time.monotonic() - start
    return {"seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu}, made


def _cpu_seconds():
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(
            resource.getrusage,
            (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN),
        )
    )


def best(turns: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the smallest of each figure."""
    return {name: min(turn[name] for turn in turns) for name in turns[0]}


def table(
    figures: Mapping[str, Mapping[str, float]], num_questions: int
) -> list[str]:
    """Returns the lines to print; ratios are to the last row."""
    base = list(figures.values())[-1]
    rows = [("", "s", "s of CPU", "questions/s of CPU", "ratio")]
    for name, row in figures.items():
        rows.append(
            (
                name,
                f"{row['seconds']:.1f}",
                f"{row['cpu_seconds']:.1f}",
                f"{num_questions / row['cpu_seconds']:,.0f}",
                f"{base['cpu_seconds'] / row['cpu_seconds']:.2f}",
            )
        )
    return text_table.lines(rows)


def require_bars(seconds: float, ratio: float) -> None:
    """Raises ValueError if a bar is missed."""
    if seconds > MAX_SECONDS:
        raise ValueError(
            f"seconds: got {seconds:.1f}, expected at most {MAX_SECONDS:.0f}"
        )
    if ratio < MIN_RATIO:
        raise ValueError(f"ratio: got {ratio:.2f}, expected {MIN_RATIO}")


def main(_):
    num_workers = flags.FLAGS.num_workers or worker_processes.available_cores()
    path = files.require_file(
        os.path.join(flags.FLAGS.data_dir, "squad", "dev-v1.1.rebuilt.json"),
        "data_dir",
    )
    vocab_file = files.require_file(
        os.path.join(flags.FLAGS.data_dir, "vocab", "vocab.txt"), "data_dir"
    )
    # The Garden logs its first windows.
    logging.set_verbosity(logging.WARNING)
    workers_row = f"{OURS}, {num_workers} workers"
    makers = {
        OURS: lambda: make_ours(path, vocab_file, 1),
        workers_row: lambda: make_ours(path, vocab_file, num_workers),
        GARDEN: lambda: make_garden(path, vocab_file),
    }
    turns = {name: [] for name in makers}
    cores = os.sched_getaffinity(0)
    for turn in range(flags.FLAGS.rounds):
        made = {}
        for name, make in makers.items():
            # TensorFlow would use several cores for one process.
            one_core = {max(cores)}
            os.sched_setaffinity(0, cores if name == workers_row else one_core)
            figures, made[name] = measure(make)
            os.sched_setaffinity(0, cores)
            turns[name].append(figures)
            print(
                f"turn {turn + 1}, {name}: {figures['seconds']:.1f} s, "
                f"{figures['cpu_seconds']:.1f} s of CPU",
                flush=True,
            )
        if not turn:
            require_same(made[OURS], made[GARDEN])
            require_same(made[workers_row], made[GARDEN])
            print(f"{len(made[GARDEN]):,} windows, the same of all")
    figures = {name: best(measured) for name, measured in turns.items()}
    num_questions = len(squad.read_examples(path))
    print("", *table(figures, num_questions), "", sep="\n")
    ratio = figures[GARDEN]["cpu_seconds"] / figures[OURS]["cpu_seconds"]
    seconds = figures[workers_row]["seconds"]
    print(
        f"ratio {ratio:.1f} on one core; {seconds:.1f} s with {num_workers} "
        "workers"
    )
    if flags.FLAGS.report_file:
        report = {
            "questions": num_questions,
            "num_workers": num_workers,
            "throughput": figures,
            "ratio": ratio,
        }
        files.write_text(flags.FLAGS.report_file, json.dumps(report, indent=2))
    require_bars(seconds, ratio)


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_string(
        "data_dir",
        os.environ.get(
            "MOBILEBERT_DATA", os.path.join(_ROOT, "..", "shared", "data")
        ),
        "Folder with squad/dev-v1.1.rebuilt.json and vocab/vocab.txt.",
    )
    flags.DEFINE_integer(
        "num_workers", None, "Processes; default: a core each.", lower_bound=1
    )
    flags.DEFINE_integer("rounds", 3, "Turns of each.", lower_bound=1)
    flags.DEFINE_string("report_file", None, "JSON file for the figures.")


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
