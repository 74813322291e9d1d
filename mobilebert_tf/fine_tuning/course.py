"""The course of every run that fine-tunes a head on files of data_dir."""

import filecmp
import os
from collections.abc import Callable
from typing import NamedTuple

import tf_keras
from official.core import config_definitions

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import runtime
from mobilebert_tf import tokenization
from mobilebert_tf.distillation import schedule
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.tasks import fine_tuning as tasks
from mobilebert_tf.tasks import networks
from mobilebert_tf.training import training_loop

TRAIN = "train"
DEV = "dev"
TEST = "test"

_STAGE = "fine_tuning"


class Start(NamedTuple):
    """What a run starts from.

    Attributes:
        network: MobileBertConfig.
        tokenizer: with the vocabulary of vocab_file.
        encoder: pre-trained, or None for random weights.
        lower_case: bool. Whether the tokenizer lower-cases.
        vocab_file: str.
    """

    network: config_lib.MobileBertConfig
    tokenizer: tokenization.WordPieceTokenizer
    encoder: tf_keras.Model | None
    lower_case: bool
    vocab_file: str


class Steps(NamedTuple):
    """What a kind of task does with its files.

    Attributes:
        check: (split) reads a split, for its mistakes to show.
        train: (output_dir, evaluate) trains and returns the dev metrics.
        evaluate: () returns the dev metrics of the trained model.
        predict: (output_dir, split) writes predictions.
    """

    check: Callable[[str], None]
    train: Callable[[str, bool], dict[str, float]]
    evaluate: Callable[[], dict[str, float]]
    predict: Callable[[str, str], None]


def run(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    do_train: bool,
    do_eval: bool,
    predict_split: str,
    steps: Steps,
) -> dict[str, float]:
    """Fine-tunes (or continues), evaluates on dev, predicts.

    Args:
        params: the experiment.
        model_dir: folder of checkpoints, logs and configuration.
        do_train: bool. Train on the train file.
        do_eval: bool. Evaluate on the dev file.
        predict_split: DEV, TEST, or "" for none.
        steps: of the task.

    Returns:
        The dev metrics; empty without do_eval.

    Raises:
        ValueError: for wrong input, in one line.
    """
    if not (do_train or do_eval or predict_split):
        raise ValueError(
            "nothing to do: give --do_train, --do_eval or --do_predict"
        )
    strategy = runtime.set_up(params.runtime)
    if do_train and predict_split:
        # A missing file should not show after hours of training.
        steps.check(predict_split)
    metrics = {}
    with runtime.output_directory(strategy, model_dir) as output_dir:
        with strategy.scope():
            if do_train:
                metrics = steps.train(output_dir, do_eval)
            elif do_eval:
                metrics = steps.evaluate()
        if predict_split:
            steps.predict(output_dir, predict_split)
    return metrics


def path(config: fine_tuning_config.FineTuningTaskConfig, split: str) -> str:
    """Returns the file of a split.

    Raises:
        ValueError: if the folder or the file is missing.
    """
    files.require_directory(config.data_dir, "data_dir")
    name = getattr(config, f"{split}_file")
    found = os.path.join(config.data_dir, name)
    if not name or not os.path.isfile(found):
        raise ValueError(
            f"task.{split}_file: got {name!r}, expected a file of "
            f"{config.data_dir}"
        )
    return found


def start(config: fine_tuning_config.FineTuningTaskConfig) -> Start:
    """Loads the pre-trained model, or makes a network to start at random.

    Raises:
        ValueError: if a file is missing or wrong, if `config.model` names
            another network or vocabulary than the pre-trained model has, or
            if the network is too short for the sequences.
    """
    if config.init_checkpoint:
        begin = _pretrained(config.init_checkpoint, config.model)
    else:
        begin = Start(
            networks.build(config.model),
            networks.tokenizer(config.model),
            None,
            config.model.lower_case,
            config.model.vocab_file,
        )
    begin.network.check_sequence_length(
        config.max_seq_length, "task.max_seq_length"
    )
    return begin


def train(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    output_dir: str,
    begin: Start,
    head: str,
    labels: tuple[str, ...],
    num_examples: int,
    make_task: Callable[[int], tasks.FineTuningTask],
    evaluate: bool,
) -> dict[str, float]:
    """Writes what the model is, and trains.

    Args:
        params: the experiment; trainer.train_steps is filled in.
        model_dir: folder of checkpoints, logs and configuration.
        output_dir: what runtime.output_directory made of it.
        begin: of `start`.
        head: one of model_directory.HEADS.
        labels: names of the labels, for heads that have them.
        num_examples: int. Examples of an epoch.
        make_task: batches to pass over to the task.
        evaluate: bool. Evaluate on the dev file.

    Returns:
        The dev metrics; empty without `evaluate`.

    Raises:
        ValueError: for less than a batch of examples, or if `model_dir` holds
            another model or run.
    """
    config = params.task
    batch_size = config.train_data.global_batch_size
    if batch_size < 1:
        raise ValueError(
            "task.train_data.global_batch_size: expected at least 1, got "
            f"{batch_size}"
        )
    if num_examples < batch_size:
        raise ValueError(
            f"{path(config, TRAIN)}: {num_examples} examples are fewer than a "
            f"batch of {batch_size}"
        )
    if not params.trainer.train_steps:
        params.trainer.train_steps = int(
            num_examples / batch_size * config.num_train_epochs
        )
    steps = params.trainer.train_steps
    optimizer_config = optimization_config.complete(
        params.trainer.optimizer_config,
        steps,
        warmup_steps=int(steps * config.warmup_proportion),
    )
    tf_keras.utils.set_random_seed(config.seed)
    experiment_builder.check_continues(params, model_dir)
    info = model_directory.ModelInfo(
        head=head,
        max_seq_length=config.max_seq_length,
        lower_case=begin.lower_case,
        labels=labels,
        data_dir=os.path.abspath(config.data_dir),
    )
    model_directory.write(output_dir, begin.network, info, begin.vocab_file)
    experiment_builder.write_params(params, output_dir)
    return training_loop.run_stages(
        params,
        [schedule.Stage(_STAGE, 0, steps)],
        lambda stage, start_step: make_task(start_step),
        lambda stage: optimizer_config,
        model_dir,
        evaluate,
    )


def load(model_dir: str, head: str) -> model_directory.TrainedModel:
    """Loads a fine-tuned model.

    Raises:
        ValueError: if `model_dir` holds a model with another head.
    """
    info = model_directory.read_info(model_dir)
    if info.head != head:
        raise ValueError(
            f"{model_dir}: expected a model with head {head}, got {info.head}"
        )
    return model_directory.load(model_dir)


def with_model_info(
    config: fine_tuning_config.FineTuningTaskConfig,
    info: model_directory.ModelInfo,
) -> fine_tuning_config.FineTuningTaskConfig:
    """Returns `config` for using a trained model."""
    return config.replace(
        data_dir=config.data_dir or info.data_dir,
        max_seq_length=info.max_seq_length,
        # A checkpoint may lack the random state of dropout.
        classifier_dropout=0.0,
    )


def evaluate(
    params: config_definitions.ExperimentConfig,
    task: tasks.FineTuningTask,
    model_dir: str,
) -> dict[str, float]:
    """Evaluates the newest checkpoint of `model_dir`."""
    stage = schedule.Stage(_STAGE, 0, 0)
    return training_loop.evaluate_model(params, task, stage, model_dir)


def _pretrained(folder, given):
    """Loads where to start from; `given` flags may repeat what it holds."""
    files.require_directory(folder, "init_checkpoint")
    trained = model_directory.load(folder)
    if given.bert_config_file:
        stated = config_lib.MobileBertConfig.from_json_file(
            given.bert_config_file
        )
        for field, value in stated.to_dict().items():
            if getattr(trained.config, field) != value:
                raise ValueError(
                    f"{given.bert_config_file}: {field} is {value}, but "
                    f"{getattr(trained.config, field)} in {folder}"
                )
    vocab_file = os.path.join(folder, model_directory.VOCAB_FILE)
    if given.vocab_file:
        files.require_file(given.vocab_file, "vocab_file")
        if not filecmp.cmp(given.vocab_file, vocab_file, shallow=False):
            raise ValueError(
                f"--vocab_file={given.vocab_file} differs from {vocab_file}"
            )
    return Start(
        networks.with_dropout(trained.config, given),
        trained.tokenizer,
        trained.model.encoder,
        trained.info.lower_case,
        vocab_file,
    )
