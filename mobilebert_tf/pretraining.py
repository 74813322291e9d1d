"""Runs a pre-training experiment: teacher, taught student, or bare student."""

import os

import tf_keras
from official.core import config_definitions

from mobilebert_tf import experiments
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import runtime
from mobilebert_tf import training
from mobilebert_tf.data import pretraining as pretraining_data
from mobilebert_tf.distillation import schedule
from mobilebert_tf.distillation import student as student_lib
from mobilebert_tf.tasks import networks
from mobilebert_tf.tasks import pretraining as tasks


def run(
    params: config_definitions.ExperimentConfig, model_dir: str, train: bool
) -> dict[str, float]:
    """Trains (or continues) and evaluates a pre-training experiment.

    Everything that can be wrong with the input is checked before the first
    step.

    Args:
        params: experiments.pretraining() with overrides.
        model_dir: folder of checkpoints, logs and configuration.
        train: bool. False evaluates the newest checkpoint only.

    Returns:
        The last evaluation's metrics; empty without evaluation data.

    Raises:
        ValueError: for wrong input, in one line.
    """
    task = params.task
    if task.teacher_dir and not task.model.vocab_file:
        task.model.vocab_file = os.path.join(
            task.teacher_dir, model_directory.VOCAB_FILE
        )
    _follow_training_data(task)
    network = networks.build(task.model)
    for data, key in (
        (task.train_data, "train_data"),
        (task.validation_data, "validation_data"),
    ):
        network.check_sequence_length(
            data.max_seq_length, f"task.{key}.max_seq_length"
        )
    evaluate = bool(task.validation_data.input_path)
    if train:
        _check_records(task.train_data, "input_file", network)
    if evaluate:
        _check_records(task.validation_data, "eval_input_file", network)
    elif not train:
        raise ValueError("--mode=eval needs --eval_input_file")
    stages = schedule.build(
        task.knowledge_transfer.strategy if task.teacher_dir else "none",
        network.num_hidden_layers,
        task.knowledge_transfer.steps_per_block,
        params.trainer.train_steps,
    )
    strategy = runtime.set_up(params.runtime)
    tf_keras.utils.set_random_seed(task.seed)
    with strategy.scope():
        teacher = _load_teacher(task.teacher_dir, network)

        def make_task(stage, start_step):
            if stage.block is None:
                return tasks.PretrainingTask(task, network, teacher, start_step)
            return tasks.KnowledgeTransferTask(
                task, network, teacher, start_step, block=stage.block
            )

        if not train:
            model_directory.latest_checkpoint(model_dir)
            return training.evaluate_model(
                params, make_task(stages[-1], 0), stages[-1], model_dir
            )
        model_directory.write(
            model_dir,
            network,
            model_directory.ModelInfo(
                head=model_directory.PRETRAINING,
                max_seq_length=task.train_data.max_seq_length,
                lower_case=task.model.lower_case,
            ),
            task.model.vocab_file,
        )
        experiments.write_params(params, model_dir)
        return training.run_stages(
            params,
            stages,
            make_task,
            lambda stage: _optimizer_config(params, stage),
            model_dir,
            evaluate,
        )


def _optimizer_config(params, stage):
    if stage.block is None:
        config = params.trainer.optimizer_config
    else:
        config = params.task.knowledge_transfer.optimizer_config
    return experiments.complete_optimizer_config(config, stage.num_steps)


def _follow_training_data(task):
    """Evaluation reads records of the same shape as training."""
    data = task.validation_data
    data.max_seq_length = task.train_data.max_seq_length
    data.max_predictions_per_seq = task.train_data.max_predictions_per_seq
    data.is_training = False


def _check_records(data, flag, network):
    if not data.input_path:
        raise ValueError(f"--{flag} is required: got nothing, expected files")
    pretraining_data.make_dataset(
        data.input_path.split(","),
        max_seq_length=data.max_seq_length,
        max_predictions_per_seq=data.max_predictions_per_seq,
        batch_size=data.global_batch_size,
        is_training=data.is_training,
        seed=data.seed,
        drop_remainder=data.is_training,
        vocab_size=network.vocab_size,
    )


def _load_teacher(teacher_dir, network):
    if not teacher_dir:
        return None
    files.require_directory(teacher_dir, "teacher_dir")
    info = model_directory.read_info(teacher_dir)
    if info.head != model_directory.PRETRAINING:
        raise ValueError(
            f"--teacher_dir={teacher_dir}: expected a pre-trained model, got "
            f"head {info.head}"
        )
    config = model_directory.read_config(teacher_dir)
    student_lib.check_compatible(teacher=config, student=network)
    teacher = model_directory.load(teacher_dir).model
    teacher.trainable = False
    return teacher
