"""Runs fine-tuning, evaluation and prediction on SQuAD.

model_dir/
  predictions.json         the answer to each question
  nbest_predictions.json   its candidates
  null_odds.json           v2.0: null score minus that of the best answer
  evaluation_dev.json, evaluation_predictions.json
                           official scores of the newest evaluation, and
                           of the files above
  features/                windows of the files read, see feature_cache
"""

import functools
import json
import os
from collections.abc import Sequence
from typing import NamedTuple

import tf_keras
from absl import logging
from official.core import config_definitions

from mobilebert_tf import experiment_builder
from mobilebert_tf import experiments
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import model_selection
from mobilebert_tf import question_answering_models as models
from mobilebert_tf import runtime
from mobilebert_tf import training
from mobilebert_tf import training_log
from mobilebert_tf.data import squad
from mobilebert_tf.data import squad_features
from mobilebert_tf.distillation import schedule
from mobilebert_tf.evaluation import span_decoding
from mobilebert_tf.evaluation import span_prediction
from mobilebert_tf.tasks import question_answering as tasks

DEV = "dev"
PREDICTIONS = "predictions"

_STAGE = "fine_tuning"
_FEATURES = "features"
_METRICS = {
    False: ("f1", "exact_match"),
    True: ("f1", "exact", "best_f1", "best_exact"),
}


class _Questions(NamedTuple):
    """A file, as read for training or evaluation."""

    path: str
    examples: Sequence[squad.Example]
    features: squad_features.Features
    vocabulary: Sequence[str]
    lower_case: bool


def run(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    do_train: bool,
    do_eval: bool = False,
    do_predict: bool = False,
) -> dict[str, float]:
    """Fine-tunes (or continues), evaluates and predicts.

    With do_eval the best model of a run is kept in model_dir/best; it is what
    is evaluated without training, and what predicts.

    Args:
        params: question_answering_config.question_answering() with overrides.
        model_dir: folder of checkpoints, logs and answers.
        do_train: bool. Train on task.train_data.input_path.
        do_eval: bool. Score task.validation_data.input_path, as the run goes
            on if with do_train.
        do_predict: bool. Write the answers to that file's questions, and
            score them if the file has answers too.

    Returns:
        The official scores, of the predictions rather than of the run; empty
        without.

    Raises:
        ValueError: for wrong input, in one line.
    """
    if not (do_train or do_eval or do_predict):
        raise ValueError(
            "nothing to do: give --do_train, --do_eval or --do_predict"
        )
    config = params.task
    _check(config, do_eval)
    strategy = runtime.set_up(params.runtime)
    examples = None
    if do_eval or do_predict:
        # A mistake in it should not show after hours of training.
        examples = _read_evaluated(config, must_be_scorable=do_eval)
    metrics = {}
    with runtime.output_directory(strategy, model_dir) as output_dir:
        if do_train:
            metrics = _train(
                params,
                model_dir,
                output_dir,
                examples if do_eval else None,
                strategy,
            )
        if do_predict or not do_train:
            name = DEV if do_eval and not do_train else PREDICTIONS
            predicted = _predict(
                config, model_dir, output_dir, examples, name, do_predict
            )
            if predicted.metrics:
                metrics = predicted.metrics
                folder = predicted.folder or model_dir
                with runtime.output_directory(strategy, folder) as log_dir:
                    training_log.write_validation(
                        log_dir, _STAGE, predicted.step, metrics
                    )
    return metrics


class _Predicted(NamedTuple):
    """Scores ({} without), the step of the model and its folder ("")."""

    metrics: dict[str, float]
    step: int
    folder: str


def _train(params, model_dir, output_dir, dev_examples, strategy):
    config = params.task
    path = files.require_file(config.train_data.input_path, "train_file")
    examples = squad.read_examples(
        path,
        is_training=True,
        version_2_with_negative=config.version_2_with_negative,
    )
    steps = _fill_in_steps(params, path, len(examples))
    optimizer_config = experiments.complete_optimizer_config(
        params.trainer.optimizer_config,
        steps,
        warmup_steps=int(steps * config.warmup_proportion),
    )
    start = models.start(config)
    start.network.check_sequence_length(
        config.max_seq_length, "--max_seq_length"
    )
    tf_keras.utils.set_random_seed(config.seed)
    experiment_builder.check_continues(params, model_dir)
    info = model_directory.ModelInfo(
        head=model_directory.QUESTION_ANSWERING,
        max_seq_length=config.max_seq_length,
        lower_case=start.lower_case,
    )

    def write_model(folder):
        model_directory.write(folder, start.network, info, start.vocab_file)

    write_model(output_dir)
    experiment_builder.write_params(params, output_dir)
    make_windows = functools.partial(
        _with_windows, config, start.vocab_file, start.lower_case, output_dir
    )
    train = make_windows(path, examples, is_training=True).features
    dev, score = None, None
    if dev_examples is not None:
        questions = make_windows(
            config.validation_data.input_path, dev_examples, is_training=False
        )
        dev = questions.features
        score = functools.partial(_score, config, questions)
    record = model_selection.EvaluationRecord(
        output_dir,
        (),
        config.selection_metric,
        write_model if config.keep_best else None,
    )
    patience = config.early_stopping_patience
    with strategy.scope():
        return training.run_stages(
            params,
            [schedule.Stage(_STAGE, 0, steps)],
            lambda stage, start_step: tasks.QuestionAnsweringTask(
                config,
                start.network,
                train,
                dev,
                score,
                start_step,
                start.encoder,
                start.span_head,
                lambda model, step, metrics: record(
                    model, step, metrics, {DEV: {}}
                ),
            ),
            lambda stage: optimizer_config,
            model_dir,
            dev is not None,
            functools.partial(
                model_selection.has_stalled,
                metric=config.selection_metric,
                patience=patience,
            )
            if patience
            else None,
        )


def _predict(config, model_dir, output_dir, examples, name, write):
    """Answers the questions; scores and writes the answers."""
    trained = models.load_trained(config, model_dir)
    trained.network.check_sequence_length(
        config.max_seq_length, "--max_seq_length"
    )
    options = _decoding_options(config, trained.lower_case, trained.folder)
    questions = _with_windows(
        config,
        trained.vocab_file,
        trained.lower_case,
        output_dir,
        config.validation_data.input_path,
        examples,
        is_training=False,
    )
    logits = span_prediction.predict_logits(
        trained.model,
        questions.features,
        config.validation_data.global_batch_size,
    )
    predictions = _decode(questions, *logits, options)
    if write:
        _write(predictions, output_dir, config.version_2_with_negative)
    step = training.saved_step(trained.folder) if trained.folder else 0
    if not _is_scorable(config, examples):
        logging.info("%s has no answers to score by", questions.path)
        return _Predicted({}, step, trained.folder)
    metrics = span_prediction.score(
        examples, predictions, config.version_2_with_negative
    )
    model_selection.EvaluationRecord(output_dir, (), config.selection_metric)(
        trained.model, step, metrics, {name: {}}
    )
    return _Predicted(metrics, step, trained.folder)


def _check(config, evaluate):
    """Raises ValueError for fields that mean nothing."""
    for data in ("train_data", "validation_data"):
        size = getattr(config, data).global_batch_size
        if size < 1:
            raise ValueError(
                f"task.{data}.global_batch_size: expected at least 1, got "
                f"{size}"
            )
    known = _METRICS[config.version_2_with_negative]
    if config.selection_metric not in known:
        raise ValueError(
            f"task.selection_metric: expected one of {', '.join(known)}, got "
            f"{config.selection_metric!r}"
        )
    patience = config.early_stopping_patience
    if patience < 0 or (patience and not evaluate):
        raise ValueError(
            f"task.early_stopping_patience: got {patience}, expected 0, or "
            "more with --do_eval"
        )
    tuned = config.decoding.tuned_null_threshold
    if tuned and (
        tuned not in ("exact", "f1") or not config.version_2_with_negative
    ):
        raise ValueError(
            f"task.decoding.tuned_null_threshold: got {tuned!r}, expected "
            "exact or f1 with --version_2_with_negative, or nothing"
        )
    if tuned and config.decoding.null_score_diff_threshold:
        raise ValueError(
            "expected --null_score_diff_threshold or --tuned_null_threshold, "
            "got both"
        )
    # Raises for lengths that leave no room for a context.
    _window_options(config, is_training=False)
    _decoding_options(config.replace(decoding={"tuned_null_threshold": ""}))


def _fill_in_steps(params, path, num_examples):
    """Returns trainer.train_steps, by the number of epochs if it is 0."""
    batch_size = params.task.train_data.global_batch_size
    if num_examples < batch_size:
        raise ValueError(
            f"{path}: {num_examples} questions are fewer than a batch of "
            f"{batch_size}"
        )
    if not params.trainer.train_steps:
        params.trainer.train_steps = int(
            num_examples / batch_size * params.task.num_train_epochs
        )
    return params.trainer.train_steps


def _read_evaluated(config, must_be_scorable):
    path = files.require_file(config.validation_data.input_path, "predict_file")
    examples = squad.read_examples(path)
    if not _is_scorable(config, examples) and must_be_scorable:
        raise ValueError(
            f"{path}: got questions without answers, expected answers for "
            "--do_eval"
        )
    return examples


def _is_scorable(config, examples):
    return span_prediction.is_scorable(
        config.validation_data.input_path,
        examples,
        config.version_2_with_negative,
    )


def _with_windows(
    config, vocab_file, lower_case, output_dir, path, examples, is_training
):
    """Returns the questions of a file with their windows."""
    maker = squad_features.WindowMaker(
        vocab_file, _window_options(config, is_training), lower_case
    )
    purpose = "train" if is_training else "predict"
    cache_file = os.path.join(
        config.data_dir or os.path.join(output_dir, _FEATURES),
        f"{os.path.basename(path)}.{purpose}.{_FEATURES}",
    )
    features = squad_features.cached_features(
        examples,
        maker,
        cache_file,
        squad_features.default_workers(len(examples)),
    )
    logging.info(
        "%s: %d questions, %d windows of %d tokens",
        path,
        len(examples),
        len(features["unique_ids"]),
        config.max_seq_length,
    )
    return _Questions(
        path, examples, features, maker.tokenizer.vocabulary, lower_case
    )


def _window_options(config, is_training):
    return squad_features.WindowOptions(
        config.max_seq_length,
        config.max_query_length,
        config.doc_stride,
        is_training,
    )


def _decoding_options(config, lower_case=True, folder=""):
    """Returns the options; a tuned threshold is read from `folder`."""
    decoding = config.decoding
    threshold = decoding.null_score_diff_threshold
    if decoding.tuned_null_threshold:
        metric = f"best_{decoding.tuned_null_threshold}_thresh"
        threshold = model_selection.kept_metric(folder, DEV, metric)
        if threshold is None:
            raise ValueError(
                f"--tuned_null_threshold={decoding.tuned_null_threshold}: no "
                f"evaluation is kept with the model in {folder!r}: run with "
                "--do_eval first"
            )
        logging.info("null threshold %.4f, the best by %s", threshold, metric)
    return span_decoding.DecodingOptions(
        n_best_size=decoding.n_best_size,
        max_answer_length=decoding.max_answer_length,
        lower_case=lower_case,
        version_2_with_negative=config.version_2_with_negative,
        null_score_diff_threshold=threshold,
    )


def _score(config, questions, start_logits, end_logits):
    """Returns the scores of an evaluation while training."""
    untuned = config.replace(decoding={"tuned_null_threshold": ""})
    options = _decoding_options(untuned, questions.lower_case)
    predictions = _decode(questions, start_logits, end_logits, options)
    return span_prediction.score(
        questions.examples, predictions, config.version_2_with_negative
    )


def _decode(questions, start_logits, end_logits, options):
    return list(
        span_decoding.decode(
            questions.examples,
            questions.features,
            start_logits,
            end_logits,
            questions.vocabulary,
            options,
        )
    )


def _write(predictions, output_dir, version_2_with_negative):
    texts, n_best, null_odds = span_decoding.json_files(predictions)
    contents = {"predictions": texts, "nbest_predictions": n_best}
    if version_2_with_negative:
        contents["null_odds"] = null_odds
    for name, content in contents.items():
        path = os.path.join(output_dir, f"{name}.json")
        files.write_text(path, json.dumps(content, indent=4) + "\n")
    logging.info("wrote %d predictions to %s", len(texts), output_dir)
