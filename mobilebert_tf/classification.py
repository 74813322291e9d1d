"""Runs fine-tuning, evaluation and prediction on a classification task."""

import filecmp
import os

import tf_keras
from absl import logging
from official.core import config_definitions

from mobilebert_tf import experiment_builder
from mobilebert_tf import experiments
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import runtime
from mobilebert_tf import training
from mobilebert_tf.data import glue
from mobilebert_tf.distillation import schedule
from mobilebert_tf.evaluation import prediction
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.tasks import classification as tasks
from mobilebert_tf.tasks import networks


def run(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    do_train: bool,
    do_eval: bool,
    predict_split: str = "",
) -> dict[str, float]:
    """Fine-tunes (or continues), evaluates on dev, predicts.

    Args:
        params: experiments.classification() with overrides.
        model_dir: folder of checkpoints, logs and configuration.
        do_train: bool. Train on the train split.
        do_eval: bool. Evaluate on the dev split.
        predict_split: "dev", "test", or "" for none. Predictions go to
            model_dir/predictions_SPLIT.tsv: index and label, as GLUE takes
            them, and then the probability of each label.

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
        _read_examples(
            params.task, glue.get_task(params.task.task_name), predict_split
        )
    metrics = {}
    with runtime.output_directory(strategy, model_dir) as output_dir:
        if do_train:
            metrics = _train(params, model_dir, output_dir, do_eval, strategy)
        elif do_eval:
            with strategy.scope():
                metrics = _evaluate(params, model_dir)
        if predict_split:
            _predict(params, model_dir, output_dir, predict_split)
    return metrics


def _train(params, model_dir, output_dir, evaluate, strategy):
    config = params.task
    task_spec = glue.get_task(config.task_name)
    batch_size = config.train_data.global_batch_size
    if batch_size < 1:
        raise ValueError(
            "task.train_data.global_batch_size: expected at least 1, got "
            f"{batch_size}"
        )
    encoder = None
    if config.init_checkpoint:
        start = _load_pretrained(config.init_checkpoint, config.model)
        encoder, tokenizer = start.model.encoder, start.tokenizer
        network = networks.with_dropout(start.config, config.model)
        lower_case = start.info.lower_case
        vocab_file = os.path.join(
            config.init_checkpoint, model_directory.VOCAB_FILE
        )
    else:
        network = networks.build(config.model)
        tokenizer = networks.tokenizer(config.model)
        lower_case = config.model.lower_case
        vocab_file = config.model.vocab_file
    network.check_sequence_length(config.max_seq_length, "task.max_seq_length")
    train = _features(config, task_spec, "train", tokenizer)
    dev = _features(config, task_spec, "dev", tokenizer) if evaluate else None

    num_examples = len(train["label_ids"])
    if num_examples < batch_size:
        raise ValueError(
            f"{config.data_dir}: {num_examples} train examples are fewer than "
            f"a batch of {batch_size}"
        )
    if not params.trainer.train_steps:
        params.trainer.train_steps = int(
            num_examples / batch_size * config.num_train_epochs
        )
    steps = params.trainer.train_steps
    optimizer_config = experiments.complete_optimizer_config(
        params.trainer.optimizer_config,
        steps,
        warmup_steps=int(steps * config.warmup_proportion),
    )
    tf_keras.utils.set_random_seed(config.seed)
    experiment_builder.check_continues(params, model_dir)
    model_directory.write(
        output_dir,
        network,
        model_directory.ModelInfo(
            head=model_directory.SEQUENCE_CLASSIFICATION,
            max_seq_length=config.max_seq_length,
            lower_case=lower_case,
            task_name=task_spec.name,
            labels=tuple(task_spec.labels),
            data_dir=os.path.abspath(config.data_dir),
        ),
        vocab_file,
    )
    experiment_builder.write_params(params, output_dir)
    with strategy.scope():
        return training.run_stages(
            params,
            [schedule.Stage("fine_tuning", 0, steps)],
            lambda stage, start_step: tasks.ClassificationTask(
                config,
                network,
                task_spec.labels,
                task_spec.metrics,
                train,
                dev,
                start_step,
                encoder,
            ),
            lambda stage: optimizer_config,
            model_dir,
            evaluate,
        )


def _evaluate(params, model_dir):
    trained = load_classifier(model_dir)
    task_spec = _task_of(params.task, trained.info)
    config = _with_model_info(params.task, trained.info)
    dev = _features(config, task_spec, "dev", trained.tokenizer)
    stage = schedule.Stage("fine_tuning", 0, 0)
    task = tasks.ClassificationTask(
        config.replace(classifier_dropout=0.0),
        model_directory.without_dropout(trained.config),
        task_spec.labels,
        task_spec.metrics,
        train_features=None,
        validation_features=dev,
    )
    return training.evaluate_model(params, task, stage, model_dir)


def _predict(params, model_dir, output_dir, split):
    trained = load_classifier(model_dir)
    task_spec = _task_of(params.task, trained.info)
    config = _with_model_info(params.task, trained.info)
    features = _features(config, task_spec, split, trained.tokenizer)
    probabilities = prediction.predict_probabilities(trained.model, features)
    rows = ["\t".join(["index", "prediction", *trained.info.labels])]
    for index, row in enumerate(probabilities):
        label = trained.info.labels[row.argmax()]
        rows.append("\t".join([str(index), label, *(f"{p:.6f}" for p in row)]))
    path = os.path.join(output_dir, f"predictions_{split}.tsv")
    files.write_text(path, "\n".join(rows) + "\n")
    logging.info("wrote %d predictions to %s", len(probabilities), path)


def load_classifier(model_dir: str) -> model_directory.TrainedModel:
    """Loads a fine-tuned classifier.

    Raises:
        ValueError: if `model_dir` holds another kind of model.
    """
    info = model_directory.read_info(model_dir)
    if info.head != model_directory.SEQUENCE_CLASSIFICATION:
        raise ValueError(
            f"{model_dir}: expected a fine-tuned classifier, got head "
            f"{info.head}"
        )
    return model_directory.load(model_dir)


def _load_pretrained(folder, given):
    """Loads where to start from; `given` flags may repeat what it holds."""
    files.require_directory(folder, "init_checkpoint")
    start = model_directory.load(folder)
    if given.bert_config_file:
        stated = config_lib.MobileBertConfig.from_json_file(
            given.bert_config_file
        )
        for field, value in stated.to_dict().items():
            if getattr(start.config, field) != value:
                raise ValueError(
                    f"{given.bert_config_file}: {field} is {value}, but "
                    f"{getattr(start.config, field)} in {folder}"
                )
    if given.vocab_file:
        files.require_file(given.vocab_file, "vocab_file")
        vocab_file = os.path.join(folder, model_directory.VOCAB_FILE)
        if not filecmp.cmp(given.vocab_file, vocab_file, shallow=False):
            raise ValueError(
                f"--vocab_file={given.vocab_file} differs from {vocab_file}"
            )
    return start


def _task_of(config, info):
    name = config.task_name or info.task_name
    if not name:
        raise ValueError(
            "the model names no task (converted models do not): give "
            "--task_name and --data_dir"
        )
    task_spec = glue.get_task(name)
    if task_spec.labels != info.labels:
        labels = ",".join(task_spec.labels)
        raise ValueError(
            f"the model has labels {', '.join(info.labels)} but "
            f"{task_spec.name} has {', '.join(task_spec.labels)}; if they mean "
            f"the same, convert the model again with --labels={labels}"
        )
    return task_spec


def _with_model_info(config, info):
    return config.replace(
        data_dir=config.data_dir or info.data_dir,
        max_seq_length=info.max_seq_length,
    )


def _features(config, task_spec, split, tokenizer):
    examples = _read_examples(config, task_spec, split)
    logging.info("%s %s: %d examples", task_spec.name, split, len(examples))
    return glue.features(
        examples, tokenizer, config.max_seq_length, task_spec.labels
    )


def _read_examples(config, task_spec, split):
    files.require_directory(config.data_dir, "data_dir")
    return glue.read_examples(task_spec.name, config.data_dir, split)
