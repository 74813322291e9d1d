"""Runs fine-tuning, evaluation and prediction on a classification task."""

import functools
import os

import tf_keras
from absl import logging
from official.core import config_definitions

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import runtime
from mobilebert_tf import wordpiece
from mobilebert_tf.data import classification_sources as sources
from mobilebert_tf.data import glue
from mobilebert_tf.distillation import schedule
from mobilebert_tf.evaluation import glue_submission
from mobilebert_tf.evaluation import prediction
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.tasks import classification as tasks
from mobilebert_tf.tasks import networks
from mobilebert_tf.training import training_loop


def run(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    do_train: bool,
    do_eval: bool,
    predict_split: str = "",
) -> dict[str, float]:
    """Fine-tunes (or continues), evaluates on dev, predicts.

    With do_eval the best model of a run is kept in model_dir/best; it is what
    is evaluated without training, and what predicts.

    Args:
        params: classification_config.classification() with overrides.
        model_dir: folder of checkpoints, logs and configuration.
        do_train: bool. Train on the train split.
        do_eval: bool. Evaluate on the dev split, of MNLI on both; see
            model_selection for what is written.
        predict_split: "dev", "test", or "" for none. Predictions go to
            model_dir/predictions_SPLIT.tsv: index, label and the probability
            of each label, or the value of a regression; those on a test set
            of GLUE also to its file for the GLUE server.

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
    metrics = {}
    with runtime.output_directory(strategy, model_dir) as output_dir:
        if do_train:
            source = _training_source(params.task)
            if predict_split:
                # A missing file should not show after hours of training.
                for split in source.splits_of(predict_split):
                    source.read(split)
            metrics = _train(
                params, source, model_dir, output_dir, do_eval, strategy
            )
        elif do_eval:
            with strategy.scope():
                metrics = _evaluate(params, model_dir, output_dir)
        if predict_split:
            _predict(params.task, model_dir, output_dir, predict_split)
    return metrics


def _train(params, source, model_dir, output_dir, evaluate, strategy):
    config = params.task
    batch_size = config.train_data.global_batch_size
    if batch_size < 1:
        raise ValueError(
            "task.train_data.global_batch_size: expected at least 1, got "
            f"{batch_size}"
        )
    metric = _selection_metric(config, source)
    patience = config.early_stopping_patience
    if patience < 0 or (patience and not evaluate):
        raise ValueError(
            f"task.early_stopping_patience: got {patience}, expected 0, or "
            "more with --do_eval"
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
    tasks.check(config, network, source.labels)
    train = _features(config, source, glue.TRAIN, tokenizer)
    dev = _dev_features(config, source, tokenizer) if evaluate else {}

    num_examples = len(train["input_word_ids"])
    if num_examples < batch_size:
        raise ValueError(
            f"{config.data_dir or config.table.train_file}: {num_examples} "
            f"train examples are fewer than a batch of {batch_size}"
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
        head=model_directory.SEQUENCE_CLASSIFICATION,
        max_seq_length=config.max_seq_length,
        lower_case=lower_case,
        task_name=source.task.name if source.task else "",
        labels=tuple(source.labels),
        data_dir=os.path.abspath(config.data_dir) if source.task else "",
    )

    def write_model(folder):
        model_directory.write(folder, network, info, vocab_file)

    write_model(output_dir)
    experiment_builder.write_params(params, output_dir)
    record = model_selection.EvaluationRecord(
        output_dir,
        source.labels,
        metric,
        write_model if config.keep_best else None,
    )
    with strategy.scope():
        return training_loop.run_stages(
            params,
            [schedule.Stage("fine_tuning", 0, steps)],
            lambda stage, start_step: tasks.ClassificationTask(
                config,
                network,
                source.labels,
                source.metrics,
                train,
                dev,
                start_step,
                encoder,
                record,
            ),
            lambda stage: optimizer_config,
            model_dir,
            evaluate,
            functools.partial(
                model_selection.has_stalled, metric=metric, patience=patience
            )
            if patience
            else None,
        )


def _evaluate(params, model_dir, output_dir):
    folder = model_selection.best_or_newest(model_dir)
    trained = load_classifier(folder)
    source = _source_for(params.task, trained.info)
    config = _with_model_info(params.task, trained.info)
    stage = schedule.Stage("fine_tuning", 0, 0)
    task = tasks.ClassificationTask(
        config.replace(classifier_dropout=0.0),
        model_directory.without_dropout(trained.config),
        source.labels,
        source.metrics,
        train_features=None,
        validation_features=_dev_features(config, source, trained.tokenizer),
        on_evaluation=model_selection.EvaluationRecord(
            output_dir, source.labels, _selection_metric(config, source)
        ),
    )
    return training_loop.evaluate_model(params, task, stage, folder)


def _predict(config, model_dir, output_dir, split):
    trained = load_classifier(model_selection.best_or_newest(model_dir))
    source = _source_for(config, trained.info)
    config = _with_model_info(config, trained.info)
    for each in source.splits_of(split):
        features = _features(config, source, each, trained.tokenizer)
        if glue.is_regression(source.labels):
            predicted = prediction.predict_values(trained.model, features)
            columns = [[f"{value:.6f}"] for value in predicted]
            header = ["index", "prediction"]
        else:
            probabilities = prediction.predict_probabilities(
                trained.model, features
            )
            predicted = [source.labels[row.argmax()] for row in probabilities]
            columns = [
                [label, *(f"{p:.6f}" for p in row)]
                for label, row in zip(predicted, probabilities, strict=True)
            ]
            header = ["index", "prediction", *source.labels]
        rows = [header, *([str(i), *row] for i, row in enumerate(columns))]
        path = os.path.join(
            output_dir, _predictions_file(source, trained.info, each)
        )
        files.write_text(path, "".join("\t".join(r) + "\n" for r in rows))
        logging.info("wrote %d predictions to %s", len(predicted), path)
        if source.task is not None:
            path = glue_submission.write(
                source.task, each, predicted, output_dir
            )
            if path:
                logging.info("wrote the file for the GLUE server to %s", path)


def _predictions_file(source, info, split):
    """Returns a name that another task's predictions do not have."""
    if source.task is None or source.task.name == info.task_name:
        return f"predictions_{split}.tsv"
    return f"predictions_{source.task.name}_{split}.tsv"


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
        contents = map(files.read_bytes, (given.vocab_file, vocab_file))
        if not wordpiece.same_vocabulary(*contents):
            raise ValueError(
                f"--vocab_file={given.vocab_file} differs from {vocab_file}"
            )
    return start


def _training_source(config):
    if sources.has_files(config.table):
        _check_one_source(config)
        return sources.TableSource(config.table)
    return sources.GlueSource(glue.get_task(config.task_name), config.data_dir)


def _source_for(config, info):
    """Returns the source of a trained model's examples; labels must agree."""
    if sources.has_files(config.table):
        _check_one_source(config)
        return sources.TableSource(config.table, info.labels)
    name = config.task_name or info.task_name
    if not name:
        raise ValueError(
            "the model names no task (converted models and those of own "
            "tables do not): give --task_name and --data_dir, or --dev_file "
            "or --test_file"
        )
    task = glue.get_task(name)
    if task.labels != info.labels:
        labels = ",".join(task.labels)
        raise ValueError(
            f"the model has labels {', '.join(info.labels)} but "
            f"{task.name} has {', '.join(task.labels)}; if they mean "
            f"the same, convert the model again with --labels={labels}"
        )
    return sources.GlueSource(task, config.data_dir or info.data_dir)


def _check_one_source(config):
    if config.task_name:
        raise ValueError(
            f"expected a GLUE task or own files, got --task_name="
            f"{config.task_name} and one of --train_file, --dev_file and "
            "--test_file"
        )


def _selection_metric(config, source):
    metric = config.selection_metric or source.metrics[0]
    known = (*source.metrics, "validation_loss")
    if metric not in known:
        raise ValueError(
            f"task.selection_metric: expected one of {', '.join(known)}, got "
            f"{metric!r}"
        )
    return metric


def _with_model_info(config, info):
    return config.replace(max_seq_length=info.max_seq_length)


def _dev_features(config, source, tokenizer):
    return {
        split: _features(config, source, split, tokenizer)
        for split in source.splits_of(glue.DEV)
    }


def _features(config, source, split, tokenizer):
    examples = source.read(split)
    logging.info("%s: %d examples", split, len(examples))
    return glue.features(
        examples, tokenizer, config.max_seq_length, source.labels
    )
