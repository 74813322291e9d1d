"""Runs a pre-training experiment: teacher, taught student, or bare student."""

import contextlib
import os

import tf_keras
from official.core import config_definitions

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import runtime
from mobilebert_tf.distillation import layer_mapping
from mobilebert_tf.distillation import schedule
from mobilebert_tf.distillation import student as student_lib
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import experiment_checks
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import networks
from mobilebert_tf.tasks import pretraining as tasks
from mobilebert_tf.tasks import pretraining_inputs
from mobilebert_tf.training import pretrained
from mobilebert_tf.training import training_loop

# Flag of the files to the field of the data set.
_DATA_FIELDS = {
    "input_file": "train_data",
    "first_input_file": "first_train_data",
    "eval_input_file": "validation_data",
}
# Whatever the official flag weight_decay_rate says.
_OFFICIAL_WEIGHT_DECAY = 0.01


def run(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    train: bool,
    evaluate: bool | None = None,
) -> dict[str, float]:
    """Trains (or continues) and evaluates a pre-training experiment.

    Everything that can be wrong with the input is checked before the first
    step.

    Args:
        params: pretraining_config.pretraining() with overrides.
        model_dir: folder of checkpoints, logs and configuration.
        train: bool. False evaluates the newest checkpoint only.
        evaluate: bool or None. Whether to evaluate while training; None if
            there is data for it.

    Returns:
        The last evaluation's metrics; empty without evaluation data.

    Raises:
        ValueError: for wrong input, in one line.
    """
    strategy = runtime.set_up(params.runtime)
    experiment_checks.check_pretraining(params.task)
    for flag, path in (
        ("model_dir", model_dir),
        ("teacher_dir", params.task.teacher_dir),
        ("init_checkpoint", params.task.init_checkpoint),
        ("vocab_file", params.task.model.vocab_file),
    ):
        files.require_local(path, flag)
    if not train:
        return _evaluate(params, model_dir, strategy)
    if evaluate is None:
        evaluate = bool(params.task.validation_data.input_path)
    return _train(params, model_dir, strategy, evaluate)


def _train(params, model_dir, strategy, evaluate):
    task = params.task
    task.knowledge_transfer.strategy = experiment_checks.strategy(task)
    teacher = pretrained.read_teacher(task)
    initial = pretrained.read_initial(task)
    pretrained.follow_vocabulary(task, teacher, initial, model_dir)
    network = networks.build(task.model)
    flags = ["input_file"]
    if task.first_train_steps:
        flags.append("first_input_file")
    if evaluate:
        _follow_training_data(task)
        flags.append("eval_input_file")
    data = {flag: getattr(task, _DATA_FIELDS[flag]) for flag in flags}
    _check_data(data, task.model, network)
    stages = schedule.build(
        task, network.num_hidden_layers, params.trainer.train_steps
    )
    optimizer_configs = {
        stage.name: _optimizer_config(params, stage, stages) for stage in stages
    }
    experiment_builder.check_continues(params, model_dir)
    tf_keras.utils.set_random_seed(task.seed)
    with (
        strategy.scope(),
        runtime.output_directory(strategy, model_dir) as output_dir,
        _named_damage(data, network),
    ):
        initial = _build_initial(initial, network, task.init_checkpoint)
        make_task = _task_maker(task, network, teacher, initial)
        pretraining_inputs.check_continues(data, model_dir, output_dir)
        model_directory.write(
            output_dir,
            network,
            model_directory.ModelInfo(
                head=model_directory.PRETRAINING,
                max_seq_length=task.train_data.max_seq_length,
                lower_case=task.model.lower_case,
            ),
            task.model.vocab_file,
        )
        experiment_builder.write_params(params, output_dir)
        return training_loop.run_stages(
            params,
            stages,
            make_task,
            lambda stage: optimizer_configs[stage.name],
            model_dir,
            evaluate,
        )


def _evaluate(params, model_dir, strategy):
    """Evaluates the newest checkpoint in the stage that it was saved in."""
    task = params.task
    network = model_directory.without_dropout(
        model_directory.read_config(model_dir)
    )
    model_directory.latest_checkpoint(model_dir)
    task.model.lower_case = model_directory.read_info(model_dir).lower_case
    task.model.vocab_file = os.path.join(model_dir, model_directory.VOCAB_FILE)
    teacher = pretrained.read_teacher(task)
    _follow_training_data(task)
    data = {"eval_input_file": task.validation_data}
    _check_data(data, task.model, network)
    stages = schedule.build(
        task, network.num_hidden_layers, params.trainer.train_steps
    )
    stage = training_loop.stage_at(stages, training_loop.saved_step(model_dir))
    with strategy.scope(), _named_damage(data, network):
        make_task = _task_maker(task, network, teacher)
        return training_loop.evaluate_model(
            params, make_task(stage, 0), stage, model_dir
        )


def _task_maker(task, network, teacher, initial=None):
    """Returns a function of (stage, start_step) that makes the stage's task."""
    teacher = _build_teacher(teacher, network)
    teacher_blocks = _map_blocks(task, teacher, network)
    if teacher is not None and experiment_checks.never_loads_teacher(task):
        teacher = _random_teacher(teacher.config)

    def make_task(stage, start_step):
        return tasks.PretrainingTask(
            task, network, stage, teacher, teacher_blocks, start_step, initial
        )

    return make_task


def _optimizer_config(params, stage, stages):
    if stage.pretraining:
        config = params.trainer.optimizer_config
        num_steps = sum(each.num_steps for each in stages if each.pretraining)
    else:
        config = params.task.knowledge_transfer.optimizer_config
        num_steps = stage.num_steps
    config = optimization_config.complete(config, num_steps)
    if params.task.official_defects.fixed_weight_decay:
        config.optimizer.get().weight_decay_rate = _OFFICIAL_WEIGHT_DECAY
    return config


def _map_blocks(task, teacher, network):
    """Returns the teacher's block for each of the student's.

    None where nothing needs them and the mapping does not say which.
    """
    transfer = task.knowledge_transfer
    if teacher is None:
        return ()
    num_blocks = (network.num_hidden_layers, teacher.config.num_hidden_layers)
    if (
        experiment_checks.strategy(task) == "none"
        and transfer.layer_mapping == "one_to_one"
        and num_blocks[0] != num_blocks[1]
    ):
        return ()
    return layer_mapping.teacher_blocks(
        transfer.layer_mapping, transfer.teacher_layers, *num_blocks
    )


def _random_teacher(config):
    """Returns an untrained teacher; the student takes nothing from it."""
    teacher = models.MobileBertForPreTraining(config)
    teacher.build_weights()
    teacher.trainable = False
    return teacher


def _follow_training_data(task):
    """Evaluation reads records of the same shape as training."""
    data = task.validation_data
    data.max_seq_length = task.train_data.max_seq_length
    data.max_predictions_per_seq = task.train_data.max_predictions_per_seq
    data.is_training = False


def _check_data(data, model, network):
    """Checks the data sets of a run, {flag of the files: data}."""
    for flag, each in data.items():
        if not each.input_path:
            raise ValueError(f"--{flag} is required: got nothing")
        network.check_sequence_length(
            each.max_seq_length, f"task.{_DATA_FIELDS[flag]}.max_seq_length"
        )
        pretraining_inputs.make_dataset(each, model, network.vocab_size)


@contextlib.contextmanager
def _named_damage(data, network):
    """Says which record is at fault when reading fails within the block."""
    with contextlib.ExitStack() as stack:
        for each in data.values():
            stack.enter_context(
                pretraining_inputs.named_damage(each, network.vocab_size)
            )
        yield


def _build_teacher(checkpoint, network):
    if checkpoint is None:
        return None
    student_lib.check_compatible(teacher=checkpoint.config, student=network)
    teacher = pretrained.build_model(checkpoint)
    teacher.trainable = False
    return teacher


def _build_initial(checkpoint, network, path):
    if checkpoint is None:
        return None
    pretrained.check_initial(checkpoint, network, path)
    return pretrained.build_model(checkpoint)
