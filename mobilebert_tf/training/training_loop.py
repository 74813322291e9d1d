"""The training loop of every binary: stages, checkpoints, resume, progress.

Stages run on the Model Garden's trainer under Orbit's controller. Each stage
starts by restoring the newest checkpoint of the model's folder, whether this
process or an earlier, killed one wrote it: both continue alike. Several
workers do all of this in step; only the chief writes to the model's folder.
"""

import contextlib
import logging as python_logging
import os
from collections.abc import Callable
from collections.abc import Sequence

import orbit
import tensorflow as tf
import tf_keras
from absl import logging
from official.core import base_trainer
from official.core import config_definitions

from mobilebert_tf import model_directory
from mobilebert_tf import runtime
from mobilebert_tf.distillation import schedule
from mobilebert_tf.training import run_checkpoints
from mobilebert_tf.training import training_log

# Of Orbit and TensorFlow; what they tell of each loop, the log tells shorter.
_CHATTY_FILES = ("controller.py", "loop_fns.py", "functional_saver.py")


class NotFiniteError(ValueError):
    """A loss term, gradient or weight became NaN or infinite."""


class StageTrainer(base_trainer.Trainer):
    """The Garden's trainer, with optimizer state saved under a name of its own.

    At a stage boundary the newest checkpoint holds the state of the stage
    before; under its own name a new stage finds none and starts afresh, as it
    does in an uninterrupted run. Stages that share a name go on with it.
    """

    def __init__(self, *args, optimizer_name: str, **kwargs):
        super().__init__(*args, **kwargs)
        self._checkpoint = tf.train.Checkpoint(
            model=self.model,
            global_step=self.global_step,
            **{f"optimizer_{optimizer_name}": self.optimizer},
        )


def run_stages(
    params: config_definitions.ExperimentConfig,
    stages: Sequence[schedule.Stage],
    make_task: Callable,
    make_optimizer_config: Callable,
    model_dir: str,
    evaluate: bool,
    should_stop: Callable[[list[dict]], bool] | None = None,
) -> dict[str, float]:
    """Trains the stages that the checkpoints of `model_dir` leave to do.

    Args:
        params: the experiment.
        stages: all stages of the run, in order.
        make_task: (stage, start_step) to the stage's task.
        make_optimizer_config: stage to its OptimizationConfig.
        model_dir: folder of checkpoints, TensorBoard logs and metrics.jsonl.
        evaluate: whether to evaluate after each stage, and every
            trainer.validation_interval steps of a longer one.
        should_stop: called after each evaluation with the rows of
            metrics.jsonl; True ends the run. A run that ended so is not
            continued. None trains all stages.

    Returns:
        The metrics of the last evaluation; empty without one.

    Raises:
        ValueError: if a batch does not divide into its parts.
        NotFiniteError: if a loss term, gradient or weight becomes NaN or
            infinite: it names which, the step and the last good checkpoint,
            which is kept.
    """
    _check_intervals(params.trainer)
    for stage in stages:
        _check_batch(params.task, stage)
    if evaluate:
        _check_divides("validation_data", params.task.validation_data)
    strategy = tf.distribute.get_strategy()
    if runtime.is_chief(strategy):
        run_checkpoints.repair(model_dir)
    step = _common_step(strategy, model_dir)
    to_do = schedule.remaining(stages, step)
    if evaluate and step and _stops(should_stop, strategy, model_dir, step):
        to_do = []
    total = stages[-1].end_step
    metrics = {}
    if not to_do:
        logging.info("%s is already trained to step %d", model_dir, step)
    if evaluate and (not to_do or _lacks_evaluation(params, stages, model_dir)):
        stage = stage_at(stages, step)
        metrics = evaluate_model(
            params, make_task(stage, step), stage, model_dir
        )
        _common_step(strategy, model_dir)
    for stage in to_do:
        start_step = max(step, stage.start_step)
        logging.info(
            "stage %s: steps %d to %d of %d",
            stage.name,
            start_step,
            stage.end_step,
            total,
        )
        with (
            _quiet_orbit(),
            runtime.output_directory(strategy, model_dir) as output_dir,
        ):
            metrics = _run_stage(
                params,
                stage,
                make_task(stage, start_step),
                make_optimizer_config(stage),
                model_dir,
                output_dir,
                total,
                evaluate,
                should_stop,
            )
        step = _common_step(strategy, model_dir)
        if evaluate and _stops(should_stop, strategy, model_dir, step):
            break
    return metrics


def evaluate_model(params, task, stage, model_dir: str) -> dict[str, float]:
    """Evaluates the newest checkpoint of `model_dir` on validation data."""
    trainer = StageTrainer(
        params,
        task,
        model=task.build_model(),
        # The Garden's trainer asks for one; none of its steps is taken.
        optimizer=tf_keras.optimizers.legacy.SGD(),
        train=False,
        optimizer_name=stage.optimizer_name,
    )
    with (
        _quiet_orbit(),
        runtime.output_directory(trainer.strategy, model_dir) as output_dir,
    ):
        manager = run_checkpoints.CheckpointManager(
            trainer.checkpoint,
            model_dir,
            output_dir,
            interval=params.trainer.checkpoint_interval,
            max_to_keep=None,
            step_counter=trainer.global_step,
        )
        controller = orbit.Controller(
            strategy=trainer.strategy,
            evaluator=trainer,
            global_step=trainer.global_step,
            checkpoint_manager=manager,
            eval_summary_dir=os.path.join(output_dir, "validation"),
        )
        return _evaluate(controller, trainer, output_dir, stage)


def saved_step(model_dir: str) -> int:
    """Returns the global step of the newest checkpoint, 0 without one.

    Raises:
        ValueError: if there are checkpoints that cannot be read.
    """
    checkpoint = model_directory.find_checkpoint(model_dir)
    if checkpoint is None:
        return 0
    try:
        return int(
            tf.train.load_variable(
                checkpoint, "global_step/.ATTRIBUTES/VARIABLE_VALUE"
            )
        )
    except (IndexError, ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"{checkpoint}: not a whole checkpoint of a training run: {error}"
        ) from error


def stage_at(stages: Sequence[schedule.Stage], step: int) -> schedule.Stage:
    """Returns the stage that made the update to `step`."""
    return next(
        (stage for stage in stages if step <= stage.end_step), stages[-1]
    )


def _common_step(strategy, model_dir):
    """Waits for all workers; returns the step that they find in `model_dir`."""
    runtime.meet(strategy, 0, "nothing")
    step = saved_step(model_dir)
    runtime.meet(strategy, step, "the step of the newest checkpoint")
    return step


def _lacks_evaluation(params, stages, model_dir):
    """Whether a kill came between a checkpoint and the evaluation due then."""
    step = saved_step(model_dir)
    stage = stage_at(stages, step)
    steps = step - stage.start_step
    is_due = step == stage.end_step or (
        steps and steps % params.trainer.validation_interval == 0
    )
    return is_due and not any(
        row["step"] == step and row["kind"] == "validation"
        for row in training_log.read_metrics(model_dir)
    )


def _run_stage(
    params,
    stage,
    task,
    optimizer_config,
    model_dir,
    output_dir,
    total,
    evaluate,
    should_stop,
):
    trainer = StageTrainer(
        params,
        task,
        model=task.build_model(),
        optimizer=task.create_optimizer(optimizer_config, params.runtime),
        train=True,
        evaluate=evaluate,
        optimizer_name=stage.optimizer_name,
    )
    manager = run_checkpoints.CheckpointManager(
        trainer.checkpoint,
        model_dir,
        output_dir,
        interval=params.trainer.checkpoint_interval,
        max_to_keep=params.trainer.max_to_keep,
        step_counter=trainer.global_step,
        optimizer_item=f"optimizer_{stage.optimizer_name}",
        first_step=stage.start_step,
        init_fn=trainer.initialize,
    )
    progress = training_log.Progress(
        trainer,
        stage,
        total,
        _train_data(params.task, stage)[1].global_batch_size,
        output_dir,
    )
    controller = orbit.Controller(
        strategy=trainer.strategy,
        trainer=trainer,
        evaluator=trainer if evaluate else None,
        global_step=trainer.global_step,
        steps_per_loop=params.trainer.steps_per_loop,
        checkpoint_manager=manager,
        summary_dir=os.path.join(output_dir, "train"),
        eval_summary_dir=os.path.join(output_dir, "validation"),
        train_actions=[
            _StopWhenNotFinite(trainer, stage, model_dir),
            progress,
        ],
    )
    interval = params.trainer.validation_interval
    step = int(trainer.global_step.numpy())
    metrics = {}
    while step < stage.end_step:
        # Multiples of the interval, so that a resumed run evaluates where an
        # uninterrupted one does.
        intervals = (step - stage.start_step) // interval + 1
        step = min(stage.start_step + intervals * interval, stage.end_step)
        progress.restart_clock()
        controller.train(step, checkpoint_at_completion=step == stage.end_step)
        if evaluate:
            metrics = _evaluate(controller, trainer, output_dir, stage)
            if _stops(should_stop, trainer.strategy, model_dir, step):
                logging.info("no better since: the run ends at step %d", step)
                manager.save(check_interval=False)
                break
    return metrics


def _stops(should_stop, strategy, model_dir, step):
    """Whether the run ends at this step; the same in all workers."""
    if should_stop is None:
        return False
    runtime.meet(strategy, 0, "nothing")  # The chief has written its rows.
    # Later rows are of a run that went on from an earlier checkpoint than
    # theirs.
    rows = training_log.read_metrics(model_dir)
    stops = should_stop([row for row in rows if row["step"] <= step])
    runtime.meet(strategy, int(stops), "whether to stop early")
    return stops


def _evaluate(controller, trainer, model_dir, stage):
    outputs = controller.evaluate(steps=trainer.config.trainer.validation_steps)
    metrics = {name: float(value) for name, value in outputs.items()}
    step = int(trainer.global_step.numpy())
    training_log.write_validation(model_dir, stage.name, step, metrics)
    trainer.task.after_evaluation(
        trainer.model,
        model_dir,
        step,
        controller.eval_summary_manager.summary_writer(),
    )
    return metrics


class _StopWhenNotFinite:
    """Orbit action: ends the run before a spoilt checkpoint is written."""

    def __init__(self, trainer, stage, model_dir):
        self._trainer = trainer
        self._stage = stage
        self._model_dir = model_dir

    def __call__(self, outputs):
        del outputs
        guard = self._trainer.task.guard
        step = int(self._trainer.global_step.numpy())
        if guard.num_refused:
            step -= guard.num_refused - 1
            reason = guard.reason
        elif not self._weights_are_finite():
            reason = "the update led to weights that are not finite"
        else:
            return
        checkpoint = model_directory.find_checkpoint(self._model_dir)
        raise NotFiniteError(
            f"step {step}: {reason} (stage {self._stage.name}); a lower "
            "learning rate often helps; last good checkpoint: "
            f"{checkpoint or 'none'}"
        )

    @tf.function
    def _weights_are_finite(self):
        return tf.reduce_all(
            [
                tf.reduce_all(tf.math.is_finite(weight))
                for weight in self._trainer.model.trainable_weights
            ]
        )


def _train_data(task, stage):
    """Returns the key and the value of the data that a stage trains on."""
    key = (
        "first_train_data"
        if stage.data == schedule.FIRST_DATA
        else "train_data"
    )
    return key, getattr(task, key)


def _check_batch(task, stage):
    steps = task.gradient_accumulation_steps
    if steps < 1:
        raise ValueError(
            "task.gradient_accumulation_steps: expected at least 1, got "
            f"{steps}"
        )
    _check_divides(*_train_data(task, stage), steps)


def _check_divides(key, data, steps=1):
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if data.global_batch_size % (steps * replicas):
        raise ValueError(
            f"task.{key}.global_batch_size: expected a multiple of "
            f"{steps} gradient_accumulation_steps x {replicas} replicas, got "
            f"{data.global_batch_size}"
        )


@contextlib.contextmanager
def _quiet_orbit():
    """Leaves the telling to the log: Orbit logs and prints every loop."""

    def is_ours(record):
        return (
            record.levelno > python_logging.INFO
            or record.filename not in _CHATTY_FILES
        )

    handler = logging.get_absl_handler()
    handler.addFilter(is_ours)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            with contextlib.redirect_stdout(nowhere):
                yield
    finally:
        handler.removeFilter(is_ours)


def _check_intervals(trainer):
    for name in (
        "steps_per_loop",
        "checkpoint_interval",
        "validation_interval",
        "max_to_keep",
    ):
        value = getattr(trainer, name)
        if value < 1:
            raise ValueError(
                f"trainer.{name}: expected at least 1, got {value}"
            )
