r"""A transfer stage costs in proportion to its block: stage 6 against 24.

    python benchmarks/transfer_stages.py --report_file=out/transfer_stages.json

One training step (teacher, student, losses, gradients, LAMB) of the 6th and
of the 24th stage of progressive transfer at full size: mobilebert taught by
ib_bert_large, random weights, length 128. Both run by turns in one process on
the same batch; the first round is not counted. The ratio of the medians must
be at most 0.4. With --official the same stages are measured in the form of the
official code too, whose lower blocks learn at a lower rate; that takes three
times as long and is for comparison alone.
"""

import json
import statistics
import time
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from absl import flags
from absl import logging

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import text_table
from mobilebert_tf.distillation import schedule
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import pretraining as tasks

MAX_RATIO = 0.4

_STAGES = (6, 24)
_LENGTH = 128
_PREDICTIONS = 20
_FORMS = {
    "lower blocks frozen": {},
    "official rates": dict(active_block_rate=3.0, lower_blocks_rate=0.3),
}


def make_inputs(
    vocab_size: int, batch_size: int, length: int, predictions: int
) -> dict[str, tf.Tensor]:
    """Returns a batch of full sequences with random tokens."""
    generator = np.random.default_rng(0)
    shape = [batch_size, length]
    inputs = {
        "input_word_ids": generator.integers(0, vocab_size, shape),
        "input_mask": np.ones(shape),
        "input_type_ids": np.zeros(shape),
        "masked_lm_positions": np.tile(
            np.arange(1, predictions + 1), [batch_size, 1]
        ),
        "masked_lm_ids": generator.integers(
            0, vocab_size, [batch_size, predictions]
        ),
        "next_sentence_labels": np.zeros([batch_size, 1]),
    }
    return {
        **{name: tf.constant(x, tf.int32) for name, x in inputs.items()},
        "masked_lm_weights": tf.ones([batch_size, predictions]),
    }


def make_steps(
    student: config_lib.MobileBertConfig,
    teacher: models.MobileBertForPreTraining,
    stages: Sequence[int],
    transfer: dict[str, object],
) -> dict[int, Callable]:
    """Returns the training step of each stage (1-based) of one student.

    Args:
        student: network.
        teacher: of as many blocks.
        stages: which.
        transfer: fields of KnowledgeTransferConfig.
    """
    params = pretraining_config.PretrainingTaskConfig(
        teacher_dir="in memory",
        knowledge_transfer=pretraining_config.KnowledgeTransferConfig(
            **transfer
        ),
    )
    num_blocks = student.num_hidden_layers
    schedules = schedule.build(params, num_blocks, pretraining_steps=0)
    steps = {}
    for number in stages:
        task = tasks.PretrainingTask(
            params,
            student,
            schedules[number - 1],
            teacher,
            teacher_blocks=range(num_blocks),
        )
        steps[number] = _make_step(task)
    return steps


def measure(
    steps: dict[int, Callable], inputs: dict[str, tf.Tensor], rounds: int
) -> dict[int, list[float]]:
    """Runs the steps by turns and returns the seconds of each."""
    secs = {number: [] for number in steps}
    for number, step in steps.items():
        logging.info("tracing stage %d", number)
        step(inputs)
    for _ in range(rounds):
        for number, step in steps.items():
            begin = time.perf_counter()
            step(inputs)
            secs[number].append(time.perf_counter() - begin)
    return secs


def _make_step(task):
    model = task.build_model()
    optimizer = task.create_optimizer(
        optimization_config.complete(
            task.task_config.knowledge_transfer.optimizer_config,
            task.stage.num_steps,
        )
    )
    function = tf.function(
        lambda inputs: task.train_step(inputs, model, optimizer)[task.loss]
    )
    return lambda inputs: float(function(inputs))


def main(argv):
    del argv
    if flags.FLAGS.report_file:
        files.require_writable_file(flags.FLAGS.report_file, "report_file")
    student = config_lib.mobilebert()
    teacher = models.MobileBertForPreTraining(config_lib.ib_bert_large())
    teacher.build_weights()
    teacher.trainable = False
    inputs = make_inputs(
        student.vocab_size, flags.FLAGS.batch_size, _LENGTH, _PREDICTIONS
    )
    first, last = _STAGES
    report, rows = {}, []
    for form, transfer in _FORMS.items():
        if transfer and not flags.FLAGS.official:
            continue
        steps = make_steps(student, teacher, _STAGES, transfer)
        secs = measure(steps, inputs, flags.FLAGS.rounds)
        medians = {n: statistics.median(values) for n, values in secs.items()}
        ratio = medians[first] / medians[last]
        report[form] = {
            "secs": {str(n): values for n, values in secs.items()},
            "ratio": ratio,
        }
        rows += [
            (form, f"{n} of {last}", f"{medians[n]:.3f}", f"{min(secs[n]):.3f}")
            for n in _STAGES
        ]
        rows.append((form, "ratio", f"{ratio:.3f}", ""))
    header = ("form", "stage", "median s", "minimum s")
    print("\n".join(text_table.lines([header, *rows])))
    if flags.FLAGS.report_file:
        files.write_text(
            flags.FLAGS.report_file, json.dumps(report, indent=2) + "\n"
        )
    ratio = report["lower blocks frozen"]["ratio"]
    if ratio > MAX_RATIO:
        raise ValueError(
            f"stage {first} against stage {last}: expected a ratio of at most "
            f"{MAX_RATIO}, got {ratio:.3f}"
        )


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_string("report_file", None, "JSON file for the figures.")
    flags.DEFINE_integer("batch_size", 4, "Sequences per step.")
    flags.DEFINE_integer("rounds", 5, "Steps of each stage.")
    flags.DEFINE_boolean(
        "official", True, "Measure the official code's form too."
    )


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
