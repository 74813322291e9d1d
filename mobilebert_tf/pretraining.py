"""Runs a pre-training experiment: teacher, taught student, or bare student."""

import filecmp
import os

import tf_keras
from official.core import config_definitions

from mobilebert_tf import experiment_builder
from mobilebert_tf import experiment_checks
from mobilebert_tf import experiments
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import runtime
from mobilebert_tf import training
from mobilebert_tf.data import pretraining as pretraining_data
from mobilebert_tf.distillation import layer_mapping
from mobilebert_tf.distillation import schedule
from mobilebert_tf.distillation import student as student_lib
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import networks
from mobilebert_tf.tasks import pretraining as tasks

# Whatever the official flag weight_decay_rate says.
_OFFICIAL_WEIGHT_DECAY = 0.01


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
    strategy = runtime.set_up(params.runtime)
    task = params.task
    experiment_checks.check_pretraining(task)
    if train:
        _follow_teacher(task)
        network = networks.build(task.model)
    else:
        network = model_directory.without_dropout(
            model_directory.read_config(model_dir)
        )
        task.train_data.max_seq_length = model_directory.read_info(
            model_dir
        ).max_seq_length
    _follow_training_data(task)
    network.check_sequence_length(
        task.train_data.max_seq_length, "task.train_data.max_seq_length"
    )
    if task.first_train_steps:
        network.check_sequence_length(
            task.first_train_data.max_seq_length,
            "task.first_train_data.max_seq_length",
        )
    evaluate = bool(task.validation_data.input_path)
    if train:
        _check_records(task.train_data, "input_file", network)
        if task.first_train_steps:
            _check_records(task.first_train_data, "first_input_file", network)
    if evaluate:
        _check_records(task.validation_data, "eval_input_file", network)
    elif not train:
        raise ValueError("--mode=eval needs --eval_input_file")
    stages = schedule.build(
        task, network.num_hidden_layers, params.trainer.train_steps
    )
    optimizer_configs = {
        stage.name: _optimizer_config(params, stage, stages) for stage in stages
    }
    tf_keras.utils.set_random_seed(task.seed)
    with strategy.scope():
        teacher = _load_teacher(task.teacher_dir, network)
        initial = _load_initial(task.init_checkpoint, network)
        teacher_blocks = _map_blocks(task, teacher, network)
        if teacher is not None and experiment_checks.never_loads_teacher(task):
            teacher = _random_teacher(teacher.config)

        def make_task(stage, start_step):
            return tasks.PretrainingTask(
                task,
                network,
                stage,
                teacher,
                teacher_blocks,
                start_step,
                initial,
            )

        if not train:
            model_directory.latest_checkpoint(model_dir)
            return training.evaluate_model(
                params, make_task(stages[-1], 0), stages[-1], model_dir
            )
        experiment_builder.check_continues(params, model_dir)
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
        experiment_builder.write_params(params, model_dir)
        return training.run_stages(
            params,
            stages,
            make_task,
            lambda stage: optimizer_configs[stage.name],
            model_dir,
            evaluate,
        )


def _optimizer_config(params, stage, stages):
    if stage.pretraining:
        config = params.trainer.optimizer_config
        num_steps = sum(each.num_steps for each in stages if each.pretraining)
    else:
        config = params.task.knowledge_transfer.optimizer_config
        num_steps = stage.num_steps
    config = experiments.complete_optimizer_config(config, num_steps)
    if params.task.official_defects.fixed_weight_decay:
        config.optimizer.get().weight_decay_rate = _OFFICIAL_WEIGHT_DECAY
    return config


def _map_blocks(task, teacher, network):
    """Returns the teacher's block for each of the student's, if any learns."""
    if experiment_checks.strategy(task) == "none":
        return ()
    return layer_mapping.teacher_blocks(
        task.knowledge_transfer.layer_mapping,
        task.knowledge_transfer.teacher_layers,
        network.num_hidden_layers,
        teacher.config.num_hidden_layers,
    )


def _random_teacher(config):
    """Returns an untrained teacher; the student takes nothing from it."""
    teacher = models.MobileBertForPreTraining(config)
    teacher.build_weights()
    teacher.trainable = False
    return teacher


def _follow_teacher(task):
    """The student reads what its teacher reads: vocabulary and case."""
    if not task.teacher_dir:
        return
    files.require_directory(task.teacher_dir, "teacher_dir")
    info = model_directory.read_info(task.teacher_dir)
    vocab_file = os.path.join(task.teacher_dir, model_directory.VOCAB_FILE)
    given = task.model.vocab_file
    if given:
        files.require_file(given, "vocab_file")
        if not filecmp.cmp(given, vocab_file, shallow=False):
            raise ValueError(
                f"--vocab_file={given} differs from the teacher's {vocab_file}"
            )
    task.model.vocab_file = vocab_file
    task.model.lower_case = info.lower_case


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
    config = model_directory.read_config(teacher_dir)
    student_lib.check_compatible(teacher=config, student=network)
    teacher = _load_pretrained(teacher_dir, "teacher_dir")
    teacher.trainable = False
    return teacher


def _load_initial(folder, network):
    if not folder:
        return None
    files.require_directory(folder, "init_checkpoint")
    config = model_directory.read_config(folder)
    for field, value in config.to_dict().items():
        if getattr(network, field) != value and "dropout" not in field:
            raise ValueError(
                f"--init_checkpoint={folder} holds another network: {field} "
                f"is {value}, this run has {getattr(network, field)}"
            )
    return _load_pretrained(folder, "init_checkpoint")


def _load_pretrained(folder, flag):
    info = model_directory.read_info(folder)
    if info.head != model_directory.PRETRAINING:
        raise ValueError(
            f"--{flag}={folder}: expected a pre-trained model, got head "
            f"{info.head}"
        )
    return model_directory.load(folder).model
