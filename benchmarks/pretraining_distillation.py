r"""A step of pre-training distillation against its straightforward form.

    python benchmarks/pretraining_distillation.py \
        --report_file=out/pretraining_distillation.json

mobilebert taught by ib_bert_large, random weights, length 128, 20 predictions.
One step is the teacher's forward pass, the student's, its gradients and LAMB.
The straightforward form is made of the Model Garden's parts: its MobileBERT
encoders and heads whole, in float32; the cross-entropy of the student's
log-softmax with dense targets [B * P, V], the one-hot labels mixed with the
teacher's softmax; and its LAMB. Against it run the training step of
PretrainingTask, in float32 and with the teacher in 8-bit integers. All have the
same weights and the same batch, and take turns in one process; the first round
is not counted.

The bars: in float32 at least 1.2 times as fast, with a loss within 1e-4 of
the straightforward form's and gradients whose norm is within 1e-3 of it; with
int8 1.5 times, with a loss within 1 %; and less memory, measured in processes
of their own at batch 32. The tables of measures tell what each brings alone,
in this project's layers: of the gradients, and of the update by LAMB.
"""

import contextlib
import dataclasses
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from unittest import mock

import numpy as np
import tensorflow as tf
import tf_keras
from absl import flags
from absl import logging
from official.modeling import optimization
from official.nlp.modeling import layers
from official.nlp.modeling import models as garden_models
from official.nlp.modeling.networks import mobile_bert_encoder

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import text_table
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.distillation import schedule
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import dense
from mobilebert_tf.modeling import heads
from mobilebert_tf.modeling import models
from mobilebert_tf.optimization import optimizers
from mobilebert_tf.tasks import pretraining as tasks

MIN_FLOAT32_GAIN = 1.2
MAX_FLOAT32_ERROR = 1e-4
MAX_GRADIENT_ERROR = 1e-3
MIN_INT8_GAIN = 1.5
MAX_INT8_ERROR = 0.01

_RATIO = 0.5  # Of the labels' part of the loss.

_TABLE_FACTOR = 5.0
_STAGE = schedule.Stage("pretraining", 0, 500_000)
_STRAIGHTFORWARD = "straightforward"
_FLOAT32 = "task, float32"
_INT8 = "task, int8 teacher"
_PRECISIONS = {_FLOAT32: dense.FLOAT32, _INT8: dense.INT8}
_GARDEN_LAMB = "Garden's LAMB"
_ACTIVATIONS = {
    "relu": tf.nn.relu,
    "gelu": functools.partial(tf.nn.gelu, approximate=True),
}


@dataclasses.dataclass(frozen=True)
class Form:
    """Which measures a hand-written step takes; none is straightforward.

    Attributes:
        by_rows: dense layers as one operation on rows.
        tables_apart: logits from two tables, not from their concatenation.
        read_alone: the last blocks only where the heads read them.
        sparse_targets: the task's loss.
        precision: of the teacher's products.
    """

    by_rows: bool = False
    tables_apart: bool = False
    read_alone: bool = False
    sparse_targets: bool = False
    precision: str = dense.FLOAT32


_SINGLE_MEASURES = {
    "none": Form(),
    "dense layers by rows": Form(by_rows=True),
    "output tables apart": Form(tables_apart=True),
    "last block where read": Form(read_alone=True),
    "sparse targets": Form(sparse_targets=True),
    "int8 teacher": Form(precision=dense.INT8),
    "all of them in float32": Form(True, True, True, True),
    "all of them": Form(True, True, True, True, dense.INT8),
}


def make_inputs(
    vocab_size: int,
    batch_size: int,
    length: int = 128,
    predictions: int = 20,
) -> dict[str, tf.Tensor]:
    """Returns a batch of full sequences with random tokens and masks."""
    generator = np.random.default_rng(0)
    shape = [batch_size, length]
    places = [
        generator.choice(length - 1, predictions, replace=False) + 1
        for _ in range(batch_size)
    ]
    inputs = {
        "input_word_ids": generator.integers(0, vocab_size, shape),
        "input_mask": np.ones(shape),
        "input_type_ids": np.zeros(shape),
        "masked_lm_positions": np.sort(places, axis=1),
        "masked_lm_ids": generator.integers(
            0, vocab_size, [batch_size, predictions]
        ),
        "next_sentence_labels": generator.integers(0, 2, [batch_size, 1]),
    }
    return {
        **{name: tf.constant(x, tf.int32) for name, x in inputs.items()},
        "masked_lm_weights": tf.ones([batch_size, predictions]),
    }


def straightforward_loss(inputs, outputs, taught) -> tf.Tensor:
    """Cross-entropy with dense targets [B * P, V], and next sentence's."""
    vocab_size = outputs["masked_lm_logits"].shape[-1]
    logits = tf.reshape(outputs["masked_lm_logits"], [-1, vocab_size])
    taught_logits = tf.reshape(taught["masked_lm_logits"], [-1, vocab_size])
    labels = tf.one_hot(tf.reshape(inputs["masked_lm_ids"], [-1]), vocab_size)
    targets = _RATIO * labels + (1.0 - _RATIO) * tf.nn.softmax(taught_logits)
    losses = -tf.reduce_sum(targets * tf.nn.log_softmax(logits), axis=-1)
    weights = tf.reshape(inputs["masked_lm_weights"], [-1])
    masked_lm = tf.reduce_sum(losses * weights) / (
        tf.reduce_sum(weights) + 1e-5
    )
    sentence_labels = tf.one_hot(inputs["next_sentence_labels"][:, 0], 2)
    log_probabilities = tf.nn.log_softmax(outputs["next_sentence_logits"])
    next_sentence = -tf.reduce_sum(sentence_labels * log_probabilities, -1)
    return masked_lm + tf.reduce_mean(next_sentence)


def task_loss(inputs, outputs, taught) -> tf.Tensor:
    """The loss of PretrainingTask: less by (1 - ratio) times the entropy."""
    terms = tasks.pretraining_terms(inputs, outputs)
    masked_lm, next_sentence = (
        terms[name][0] for name in ("masked_lm_loss", "next_sentence_loss")
    )
    divergence = tasks.losses.pretraining_distillation(
        taught["masked_lm_logits"],
        outputs["masked_lm_logits"],
        inputs["masked_lm_weights"],
    )
    return _RATIO * masked_lm + (1.0 - _RATIO) * divergence + next_sentence


def mean_entropy(logits: np.ndarray) -> float:
    """Returns the mean entropy of softmax(logits [B, P, V])."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_probabilities = logits - np.log(
        np.exp(logits).sum(axis=-1, keepdims=True)
    )
    entropies = -(np.exp(log_probabilities) * log_probabilities).sum(axis=-1)
    return float(entropies.mean())


class Networks:
    """Teacher and student in the Garden's form and in ours, weights alike.

    The tables are wider than in training, so that the softmax over the
    vocabulary is no constant and an error of the teacher's shows.

    Args:
        student: MobileBertConfig.
        teacher: MobileBertConfig.
    """

    def __init__(
        self,
        student: config_lib.MobileBertConfig,
        teacher: config_lib.MobileBertConfig,
    ):
        tf_keras.utils.set_random_seed(0)
        self.config = student
        self.garden_teacher, self.teacher = _make_twins(teacher)
        self.garden_student, first = _make_twins(student)
        self.teacher.trainable = False
        self._first_weights = first.get_weights()

    def make_student(self) -> models.MobileBertForPreTraining:
        student = make_own(self.config)
        student.set_weights(self._first_weights)
        return student


def make_garden(config: config_lib.MobileBertConfig) -> tf_keras.Model:
    """Returns the Garden's pre-training model, its weights fresh."""
    encoder = mobile_bert_encoder.MobileBERTEncoder(
        word_vocab_size=config.vocab_size,
        word_embed_size=config.embedding_size,
        type_vocab_size=config.type_vocab_size,
        max_sequence_length=config.max_position_embeddings,
        num_blocks=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        intermediate_act_fn=_ACTIVATIONS[config.hidden_act],
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        intra_bottleneck_size=config.intra_bottleneck_size,
        use_bottleneck_attention=config.use_bottleneck_attention,
        key_query_shared_bottleneck=config.key_query_shared_bottleneck,
        num_feedforward_networks=config.num_feedforward_networks,
        normalization_type=config.normalization_type,
        classifier_activation=config.classifier_activation,
    )
    masked_lm = layers.MobileBertMaskedLM(
        embedding_table=encoder.get_embedding_table(),
        activation=_ACTIVATIONS[config.hidden_act],
        name="cls/predictions",
    )
    next_sentence = layers.ClassificationHead(
        inner_dim=0, num_classes=2, name="next_sentence"
    )
    model = garden_models.BertPretrainerV2(
        encoder_network=encoder,
        customized_masked_lm=masked_lm,
        classification_heads=[next_sentence],
    )
    model(make_inputs(config.vocab_size, 1, 8, 2))  # makes the weights
    _widen(encoder.get_embedding_table(), masked_lm.extra_output_weights)
    return model


def make_own(
    config: config_lib.MobileBertConfig,
) -> models.MobileBertForPreTraining:
    """Returns our pre-training model, its weights fresh."""
    model = models.MobileBertForPreTraining(config)
    model.build_weights()
    _widen(
        model.encoder.embeddings.word_table,
        model.masked_lm.extra_output_weights,
    )
    return model


def _make_twins(config):
    """Returns the Garden's model and ours with its weights."""
    garden = make_garden(config)
    with tempfile.TemporaryDirectory() as folder:
        tf.train.Checkpoint(model=garden).save(os.path.join(folder, "ckpt"))
        config.to_json_file(os.path.join(folder, model_directory.CONFIG_FILE))
        return garden, conversion.build_model(conversion.read(folder))


def _widen(*tables):
    for table in tables:
        table.assign(table * _TABLE_FACTOR)


class GardenStep:
    """The straightforward step; calling it runs one and returns the loss."""

    def __init__(
        self, teacher: tf_keras.Model, student: tf_keras.Model, inputs
    ):
        self._teacher = teacher
        self._student = student
        self._inputs = inputs
        self._optimizer = garden_lamb()
        self._function = tf.function(
            self._run, autograph=False
        ).get_concrete_function()

    def __call__(self) -> float:
        return float(self._function())

    def gradient_norm(self) -> float:
        """Returns the norm of what LAMB keeps of the gradients."""
        return _moment_norm(self._optimizer, self._student.trainable_variables)

    def _run(self):
        taught = _named_outputs(self._teacher(self._inputs, training=False))
        variables = self._student.trainable_variables
        with tf.GradientTape() as tape:
            outputs = _named_outputs(
                self._student(self._inputs, training=False)
            )
            loss = straightforward_loss(self._inputs, outputs, taught)
        # A sparse gradient counts a row that comes twice as two, and the norm
        # that all are clipped by would be another.
        gradients = [
            tf.convert_to_tensor(each)
            for each in tape.gradient(loss, variables)
        ]
        _update(self._optimizer, gradients, variables)
        return loss


class TaskStep:
    """The task's step; calling it runs one and returns the loss."""

    def __init__(
        self,
        teacher: models.MobileBertForPreTraining,
        student: models.MobileBertForPreTraining,
        inputs,
        precision: str,
    ):
        params = pretraining_config.pretraining().task
        params.distillation.teacher_precision = precision
        self._task = tasks.PretrainingTask(
            params, student.config, _STAGE, teacher
        )
        self._student = student
        self._inputs = inputs
        self._optimizer = self._task.create_optimizer(_lamb_config())
        self._function = tf.function(
            self._run, autograph=False
        ).get_concrete_function()

    def __call__(self) -> float:
        return float(self._function())

    def gradient_norm(self) -> float:
        """Returns the norm of what LAMB keeps of the gradients."""
        return _moment_norm(self._optimizer, self._student.trainable_variables)

    def _run(self):
        logs = self._task.train_step(
            self._inputs, self._student, self._optimizer, None
        )
        return logs[self._task.loss]


def _named_outputs(outputs):
    """Returns the Garden's outputs by our names."""
    return {
        "masked_lm_logits": outputs["mlm_logits"],
        # Without a pooler the Garden's head answers for each token.
        "next_sentence_logits": outputs["next_sentence"][:, 0],
    }


def _moment_norm(optimizer, variables):
    moments = [optimizer.get_slot(variable, "m") for variable in variables]
    return float(tf.linalg.global_norm(moments))


def garden_lamb() -> tf_keras.optimizers.legacy.Optimizer:
    """Returns the Garden's LAMB of run_pretraining's defaults."""
    factory = optimization.OptimizerFactory(_lamb_config())
    return factory.build_optimizer(factory.build_learning_rate())


def task_lamb() -> tf_keras.optimizers.legacy.Optimizer:
    """Returns what the task has in its place."""
    return optimizers.build(_lamb_config(), _STAGE)


def _lamb_config():
    return optimization_config.complete(
        pretraining_config.pretraining().trainer.optimizer_config,
        _STAGE.num_steps,
    )


def gradients_of(form: Form, teacher, student, inputs):
    """Returns a form's loss, the student's variables and their gradients."""
    loss_function = task_loss if form.sparse_targets else straightforward_loss
    taught = teacher(inputs, training=False, logits_only=form.read_alone)
    variables = student.trainable_variables
    with tf.GradientTape() as tape:
        outputs = student(inputs, training=False, logits_only=form.read_alone)
        loss = loss_function(inputs, outputs, taught)
    return loss, variables, tape.gradient(loss, variables)


def time_forms(
    forms: dict[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Returns the seconds of `rounds` steps of each form, taken by turns.

    A round more comes first, which is not counted.
    """
    seconds = {name: [] for name in forms}
    for _ in range(rounds + 1):
        for name, step in forms.items():
            begin = time.monotonic()
            step()
            seconds[name].append(time.monotonic() - begin)
    return {name: times[1:] for name, times in seconds.items()}


def peak_bytes(form: str, batch_size: int, num_blocks: int) -> int:
    """Returns the peak memory of one step in a process of its own.

    Raises:
        ValueError: if it fails, with its last line.
    """
    command = [
        sys.executable,
        os.path.abspath(__file__),
        f"--memory_of={form}",
        f"--memory_batch_size={batch_size}",
        f"--num_blocks={num_blocks}",
    ]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no output"])[-1]
        raise ValueError(f"memory of {form}: {last}")
    return int(process.stdout.split()[-1])


def missed_bars(report: dict) -> list[str]:
    """Returns a sentence for each bar that is missed."""
    steps, bars = report["steps"], []
    for name, gain, error in (
        (_FLOAT32, MIN_FLOAT32_GAIN, MAX_FLOAT32_ERROR),
        (_INT8, MIN_INT8_GAIN, MAX_INT8_ERROR),
    ):
        bars.append((f"{name}: gain", -steps[name]["gain"], -gain))
        bars.append((f"{name}: loss", steps[name]["loss_error"], error))
    bars.append(
        (
            f"{_FLOAT32}: gradients",
            steps[_FLOAT32]["gradient_error"],
            MAX_GRADIENT_ERROR,
        )
    )
    memory = report.get("peak_bytes")
    if memory:
        bars.append(
            (f"{_FLOAT32}: memory", memory[_FLOAT32], memory[_STRAIGHTFORWARD])
        )
    return [
        f"{name}: expected at {'least' if bar < 0 else 'most'} {abs(bar):.4g}, "
        f"got {abs(value):.4g}"
        for name, value, bar in bars
        if value > bar
    ]


def measure_steps(networks: Networks, inputs, rounds: int) -> dict[str, dict]:
    """Returns the figures of the whole steps by the name of the form."""
    steps = {}
    for name in (_STRAIGHTFORWARD, _FLOAT32, _INT8):
        logging.info("building: %s", name)
        steps[name] = _make_step(networks, inputs, name)
    logits = networks.garden_teacher(inputs, training=False)["mlm_logits"]
    losses = {name: step() for name, step in steps.items()}
    # The task leaves out the part that does not depend on the student.
    losses[_STRAIGHTFORWARD] -= (1.0 - _RATIO) * mean_entropy(logits)
    norms = {name: step.gradient_norm() for name, step in steps.items()}
    seconds = time_forms(steps, rounds)
    first = _STRAIGHTFORWARD
    return {
        name: {
            "loss": losses[name],
            "loss_error": abs(losses[name] / losses[first] - 1.0),
            "gradient_error": abs(norms[name] / norms[first] - 1.0),
            **_summary(seconds[name], seconds[first]),
        }
        for name in steps
    }


def _make_step(networks, inputs, name):
    if name == _STRAIGHTFORWARD:
        return GardenStep(
            networks.garden_teacher, networks.garden_student, inputs
        )
    return TaskStep(
        networks.teacher, networks.make_student(), inputs, _PRECISIONS[name]
    )


def measure_measures(networks: Networks, inputs, rounds: int):
    """Returns the figures of single measures, gradients without LAMB."""
    student = networks.make_student()
    functions = {}
    for name, form in _SINGLE_MEASURES.items():
        logging.info("building: %s", name)

        def run(form=form):
            loss, _, gradients = gradients_of(
                form, networks.teacher, student, inputs
            )
            # What is not read is not computed.
            return loss, [tf.convert_to_tensor(each) for each in gradients]

        dense.set_precision(networks.teacher, form.precision)
        with _as_form(form):
            functions[name] = tf.function(
                run, autograph=False
            ).get_concrete_function()
    seconds = time_forms(functions, rounds)
    return {
        name: _summary(times, seconds["none"])
        for name, times in seconds.items()
    }


def measure_lamb(networks: Networks, rounds: int) -> dict[str, dict]:
    """Returns the figures of an update alone, by the name of the LAMB."""
    updates = {}
    for name, optimizer in (
        (_GARDEN_LAMB, garden_lamb()),
        ("task's LAMB", task_lamb()),
    ):
        logging.info("building: %s", name)
        variables = networks.make_student().trainable_variables
        gradients = [tf.random.normal(each.shape) for each in variables]
        updates[name] = tf.function(
            functools.partial(_update, optimizer, gradients, variables),
            autograph=False,
        ).get_concrete_function()
    seconds = time_forms(updates, rounds)
    return {
        name: _summary(times, seconds[_GARDEN_LAMB])
        for name, times in seconds.items()
    }


def _update(optimizer, gradients, variables):
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def _summary(seconds, reference):
    return {
        "min_secs": min(seconds),
        "median_secs": statistics.median(seconds),
        "gain": min(reference) / min(seconds),
        "median_gain": statistics.median(reference)
        / statistics.median(seconds),
    }


@contextlib.contextmanager
def _as_form(form):
    """Traces models without the measures that `form` leaves out."""
    with contextlib.ExitStack() as stack:
        # The integer layers are rows by nature.
        if not form.by_rows and form.precision == dense.FLOAT32:
            stack.enter_context(
                mock.patch.object(
                    dense.RowDense, "call", tf_keras.layers.Dense.call
                )
            )
        if not form.tables_apart:
            stack.enter_context(
                mock.patch.object(
                    heads.MaskedLanguageModelHead, "call", _concatenated_logits
                )
            )
        yield


def _concatenated_logits(self, sequence_output, word_table, positions=None):
    """MaskedLanguageModelHead.call with one table [V, H]."""
    hidden = sequence_output
    if positions is not None:
        hidden = tf.gather(hidden, positions, batch_dims=1)
    hidden = self.normalization(self.dense(hidden))
    table = tf.concat([word_table, self.extra_output_weights], axis=1)
    return tf.einsum("bph,vh->bpv", hidden, table) + self.output_bias


def _print(report):
    rows = [("step with LAMB", "min s", "median s", "gain", "loss differs by")]
    for name, figures in report["steps"].items():
        rows.append(
            (
                name,
                f"{figures['min_secs']:.3f}",
                f"{figures['median_secs']:.3f}",
                f"{figures['gain']:.2f}",
                f"{figures['loss_error']:.1e}",
            )
        )
    print("\n".join(text_table.lines(rows)))
    for title, key in (
        ("gradients, measure alone", "measures"),
        ("update alone", "lamb"),
    ):
        rows = [(title, "min s", "median s", "gain")]
        for name, figures in report.get(key, {}).items():
            rows.append(
                (
                    name,
                    f"{figures['min_secs']:.3f}",
                    f"{figures['median_secs']:.3f}",
                    f"{figures['gain']:.2f}",
                )
            )
        if len(rows) > 1:
            print("\n".join(text_table.lines(rows)))
    if "peak_bytes" in report:
        rows = [(f"batch {report['memory_batch_size']}", "peak GB")]
        for name, size in report["peak_bytes"].items():
            rows.append((name, f"{size / 1e9:.2f}"))
        print("\n".join(text_table.lines(rows)))


def _configs():
    num_blocks = flags.FLAGS.num_blocks
    return (
        config_lib.mobilebert(num_hidden_layers=num_blocks),
        config_lib.ib_bert_large(num_hidden_layers=num_blocks),
    )


def _run_for_memory(name):
    student, teacher = _configs()
    inputs = make_inputs(student.vocab_size, flags.FLAGS.memory_batch_size)
    # Of one form alone, so that nothing else takes memory.
    if name == _STRAIGHTFORWARD:
        step = GardenStep(make_garden(teacher), make_garden(student), inputs)
    else:
        own = make_own(teacher)
        own.trainable = False
        step = TaskStep(own, make_own(student), inputs, _PRECISIONS[name])
    step()
    step()  # LAMB's moments are there from the first on.
    with open("/proc/self/status", encoding="utf-8") as stream:
        (peak,) = [line for line in stream if line.startswith("VmHWM")]
    print(int(peak.split()[1]) * 1024)


def main(argv):
    del argv
    if flags.FLAGS.memory_of:
        _run_for_memory(flags.FLAGS.memory_of)
        return
    if flags.FLAGS.report_file:
        files.require_writable_file(flags.FLAGS.report_file, "report_file")
    report = {
        "batch_size": flags.FLAGS.batch_size,
        "num_blocks": flags.FLAGS.num_blocks,
    }
    if flags.FLAGS.memory:
        report["memory_batch_size"] = flags.FLAGS.memory_batch_size
        report["peak_bytes"] = {
            name: peak_bytes(
                name, flags.FLAGS.memory_batch_size, flags.FLAGS.num_blocks
            )
            for name in (_STRAIGHTFORWARD, _FLOAT32, _INT8)
        }
    networks = Networks(*_configs())
    inputs = make_inputs(networks.config.vocab_size, flags.FLAGS.batch_size)
    report["steps"] = measure_steps(networks, inputs, flags.FLAGS.rounds)
    if flags.FLAGS.measures:
        report["measures"] = measure_measures(
            networks, inputs, flags.FLAGS.rounds
        )
        report["lamb"] = measure_lamb(networks, flags.FLAGS.rounds)
    missed = report["missed"] = missed_bars(report)
    if flags.FLAGS.report_file:
        files.write_text(
            flags.FLAGS.report_file, json.dumps(report, indent=2) + "\n"
        )
    _print(report)
    if missed:
        raise ValueError("; ".join(missed))


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_string("report_file", None, "JSON file for the figures.")
    flags.DEFINE_integer("batch_size", 8, "Sequences per step.")
    flags.DEFINE_integer("rounds", 5, "Steps of each form.")
    flags.DEFINE_integer("num_blocks", 24, "Of both networks.")
    flags.DEFINE_boolean(
        "measures", True, "Time what each measure brings alone."
    )
    flags.DEFINE_boolean(
        "memory", True, "Measure the peak memory at memory_batch_size."
    )
    flags.DEFINE_integer(
        "memory_batch_size", 32, "Sequences per step where memory is measured."
    )
    flags.DEFINE_string(
        "memory_of", "", "Run one step of this form and print its peak memory."
    )


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
