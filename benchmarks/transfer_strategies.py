r"""Tables 8 and 9 of the paper in miniature: strategies, and what each adds.

    python benchmarks/transfer_strategies.py --teacher_dir=run/teacher \
        --vocab_file=books/vocab.txt --input_file='books/train.tfrecord*' \
        --eval_input_file=books/eval.tfrecord --sst2_dir=glue/SST-2 \
        --output_dir=run/strategies

Trains one student per arm and seed with run_pretraining, fine-tunes it on SST-2
with run_classifier, and prints masked-LM accuracy on the held-out text and
accuracy on SST-2's dev set: mean, standard deviation and range over the seeds.
Runs that are complete are not repeated; one that was killed goes on where it
was. Each job is pinned to a core of its own.
"""

import concurrent.futures
import json
import os
import queue
import statistics
import subprocess
import sys

from absl import flags
from absl import logging

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import text_table
from mobilebert_tf.training import training_log

_REQUIRED = (
    "teacher_dir",
    "vocab_file",
    "input_file",
    "eval_input_file",
    "sst2_dir",
    "output_dir",
)

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_STRATEGY = "task.knowledge_transfer.strategy"
_ATTENTION = "task.knowledge_transfer.attention_factor"

# Name of the arm -> (whether it has a teacher, fields of the experiment).
ARMS = {
    "bare": (False, {_STRATEGY: "none"}),
    "+PD": (True, {_STRATEGY: "none"}),
    "+PD+FMT": (True, {_STRATEGY: "progressive", _ATTENTION: 0.0}),
    "+PD+FMT+AT (PKT)": (True, {_STRATEGY: "progressive"}),
    "JKT": (True, {_STRATEGY: "joint"}),
    # The auxiliary losses are added to pre-training distillation, which gets
    # the steps that the other two spend on transfer, as in the paper.
    "AKT": (True, {_STRATEGY: "auxiliary", "trainer.train_steps": 600}),
}
_METRICS = {
    "masked_lm_accuracy": "masked-LM accuracy",
    "accuracy": "SST-2 accuracy",
}


def commands(
    arm: str, seed: int, paths: dict[str, str], folder: str
) -> list[list[str]]:
    """Returns the two commands of one run, writing below `folder`.

    Args:
        arm: of ARMS.
        seed: of initialisation and data order.
        paths: value of each flag that names a file or folder.
        folder: of the run.
    """
    has_teacher, fields = ARMS[arm]
    fields = {
        **fields,
        "task.seed": seed,
        "task.train_data.seed": seed,
    }
    student = os.path.join(folder, "student")
    pretraining = [
        sys.executable,
        "-m",
        "mobilebert_tf.run_pretraining",
        "--config_file=configs/distillation/books_miniature.yaml",
        f"--vocab_file={paths['vocab_file']}",
        f"--input_file={paths['input_file']}",
        f"--eval_input_file={paths['eval_input_file']}",
        "--params_override="
        + ",".join(f"{key}={value}" for key, value in fields.items()),
        f"--model_dir={student}",
    ]
    if has_teacher:
        pretraining.append(f"--teacher_dir={paths['teacher_dir']}")
    fine_tuning = [
        sys.executable,
        "-m",
        "mobilebert_tf.run_classifier",
        "--config_file=configs/glue/books_miniature_sst2.yaml",
        f"--data_dir={paths['sst2_dir']}",
        f"--init_checkpoint={student}",
        f"--params_override=task.seed={seed},task.train_data.seed={seed}",
        f"--model_dir={os.path.join(folder, 'sst2')}",
        "--do_train",
        "--do_eval",
    ]
    return [pretraining, fine_tuning]


def table(runs: list[dict]) -> list[tuple[str, ...]]:
    """Returns rows: arm, runs, then mean and spread of each metric.

    Args:
        runs: dicts with "arm" and the metrics, each in [0, 1].
    """
    rows = [("arm", "seeds", *_METRICS.values())]
    for arm in ARMS:
        of_arm = [run for run in runs if run["arm"] == arm]
        if of_arm:
            shown = (
                _spread([run[metric] for run in of_arm]) for metric in _METRICS
            )
            rows.append((arm, str(len(of_arm)), *shown))
    return rows


def _spread(values):
    mean = statistics.mean(values)
    if len(values) == 1:
        return f"{mean:.4f}"
    return (
        f"{mean:.4f} ± {statistics.stdev(values):.4f} "
        f"({min(values):.4f} to {max(values):.4f})"
    )


def _run(arm, seed, paths, cores):
    """Returns the metrics of one run, made now or before."""
    name = f"{list(ARMS).index(arm)}_seed_{seed}"
    folder = os.path.join(paths["output_dir"], name)
    result = os.path.join(folder, "result.json")
    run = {
        "arm": arm,
        "seed": seed,
        "commands": [
            command[1:] for command in commands(arm, seed, paths, folder)
        ],
    }
    if os.path.exists(result):
        with open(result, encoding="utf-8") as stream:
            before = json.load(stream)
        if before["commands"] != run["commands"]:
            raise ValueError(
                f"{result} is of other commands; choose another --output_dir"
            )
        return before
    core = cores.get()
    try:
        _train(arm, seed, paths, folder, core)
    finally:
        cores.put(core)
    for part, metric in (
        ("student", "masked_lm_accuracy"),
        ("sst2", "accuracy"),
    ):
        rows = training_log.read_metrics(os.path.join(folder, part))
        last = [row for row in rows if row["kind"] == "validation"][-1]
        run[metric] = last[metric]
    files.write_text(result, json.dumps(run) + "\n")
    return run


def _train(arm, seed, paths, folder, core):
    os.makedirs(folder, exist_ok=True)
    log_file = os.path.join(folder, "log.txt")
    for command in commands(arm, seed, paths, folder):
        logging.info("%s, seed %d: %s", arm, seed, " ".join(command[1:]))
        with open(log_file, "a", encoding="utf-8") as log:
            status = subprocess.call(
                ["taskset", "--cpu-list", str(core), *command],
                cwd=_ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if status:
            raise ValueError(f"{arm}, seed {seed} failed: see {log_file}")


def main(argv):
    del argv
    for flag in _REQUIRED:
        if not flags.FLAGS[flag].value:
            raise ValueError(f"--{flag} is required: got nothing")
    # The commands run in the checkout, where their configs lie.
    paths = {
        flag: os.path.abspath(flags.FLAGS[flag].value) for flag in _REQUIRED
    }
    arms = flags.FLAGS.arms or list(ARMS)
    for arm in arms:
        if arm not in ARMS:
            raise ValueError(
                f"--arms: got {arm!r}, expected some of {', '.join(ARMS)}"
            )
    cores = queue.SimpleQueue()
    for core in sorted(os.sched_getaffinity(0), reverse=True)[
        : flags.FLAGS.jobs
    ]:
        cores.put(core)
    # Seed by seed, so that an early end leaves a whole table of fewer seeds.
    wanted = [(arm, int(seed)) for seed in flags.FLAGS.seeds for arm in arms]
    with concurrent.futures.ThreadPoolExecutor(flags.FLAGS.jobs) as pool:
        futures = [pool.submit(_run, *run, paths, cores) for run in wanted]
        for future in concurrent.futures.as_completed(futures):
            logging.info("done: %s", future.result())
    runs = [future.result() for future in futures]
    files.write_text(
        os.path.join(paths["output_dir"], "results.json"),
        json.dumps(runs, indent=2) + "\n",
    )
    print("\n".join(text_table.lines(table(runs))))


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_string("teacher_dir", None, "Trained teacher.")
    flags.DEFINE_string("vocab_file", None, "Vocabulary.")
    flags.DEFINE_string("input_file", None, "Training TFRecords.")
    flags.DEFINE_string("eval_input_file", None, "Held-out TFRecords.")
    flags.DEFINE_string("sst2_dir", None, "train.tsv and dev.tsv.")
    flags.DEFINE_string("output_dir", None, "Folder of all runs.")
    flags.DEFINE_list("arms", [], "Only these arms; default all.")
    flags.DEFINE_list("seeds", ["1", "2", "3"], "Seeds of each arm.")
    flags.DEFINE_integer(
        "jobs",
        1,
        "Runs side by side, each on a core of its own.",
        lower_bound=1,
    )


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
