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

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import runtime
from mobilebert_tf.distillation import schedule
from mobilebert_tf.evaluation import span_decoding
from mobilebert_tf.evaluation import span_prediction
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.fine_tuning import question_answering_data as data_lib
from mobilebert_tf.fine_tuning import question_answering_models as models
from mobilebert_tf.tasks import question_answering as tasks
from mobilebert_tf.training import training_log
from mobilebert_tf.training import training_loop

_DEV = "dev"
_PREDICTIONS = "predictions"
_STAGE = "fine_tuning"
# By which a model may be selected, in v1.1 and in v2.0.
_METRICS = {
    False: ("f1", "exact_match"),
    True: ("f1", "exact", "best_f1", "best_exact"),
}
_TUNED_METRICS = ("exact", "f1")


class _Answered(NamedTuple):
    """Answers with the model that gave them, and its global step."""

    predictions: Sequence[span_decoding.Prediction]
    trained: models.Trained
    step: int


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
        examples = data_lib.read_evaluated(config, needs_answers=do_eval)
    metrics = {}
    with runtime.output_directory(strategy, model_dir) as output_dir:
        if do_train:
            dev = examples if do_eval else None
            metrics = _train(params, model_dir, output_dir, dev, strategy)
        if do_predict or not do_train:
            answered = _answer(config, model_dir, output_dir, examples)
            if do_predict:
                _write(config, answered.predictions, output_dir)
            if data_lib.is_scorable(config, examples):
                metrics = _score(config, examples, answered.predictions)
                names = [_PREDICTIONS] if do_predict else []
                if not do_train and do_eval:
                    names.append(_DEV)
                _record(config, answered, names, metrics, output_dir)
                folder = answered.trained.folder or model_dir
                with runtime.output_directory(strategy, folder) as log_dir:
                    training_log.write_validation(
                        log_dir, _STAGE, answered.step, metrics
                    )
    return metrics


def _train(params, model_dir, output_dir, dev_examples, strategy):
    config = params.task
    examples = data_lib.read_training(config)
    steps = _fill_in_steps(params, len(examples))
    optimizer_config = optimization_config.complete(
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
    reader = start.vocab_file, start.lower_case, output_dir
    train = data_lib.with_windows(config, examples, *reader, is_training=True)
    dev_features, score = None, None
    if dev_examples is not None:
        dev = data_lib.with_windows(
            config, dev_examples, *reader, is_training=False
        )
        dev_features = dev.features
        options = _decoding_options(
            config, start.lower_case, config.decoding.null_score_diff_threshold
        )

        def score(start_logits, end_logits):
            predictions = dev.decode(start_logits, end_logits, options)
            return _score(config, dev_examples, predictions)

    record = model_selection.EvaluationRecord(
        output_dir,
        (),
        config.selection_metric,
        write_model if config.keep_best else None,
    )
    has_stalled = functools.partial(
        model_selection.has_stalled,
        metric=config.selection_metric,
        patience=config.early_stopping_patience,
    )
    with strategy.scope():
        return training_loop.run_stages(
            params,
            [schedule.Stage(_STAGE, 0, steps)],
            lambda stage, start_step: tasks.QuestionAnsweringTask(
                config,
                start.network,
                train.features,
                dev_features,
                score,
                start_step,
                start.encoder,
                start.span_head,
                functools.partial(record, counts={_DEV: {}}),
            ),
            lambda stage: optimizer_config,
            model_dir,
            dev_features is not None,
            has_stalled if config.early_stopping_patience else None,
        )


def _answer(config, model_dir, output_dir, examples):
    trained = models.load_trained(config, model_dir)
    trained.network.check_sequence_length(
        config.max_seq_length, "--max_seq_length"
    )
    options = _decoding_options(
        config, trained.lower_case, _null_threshold(config, trained.folder)
    )
    questions = data_lib.with_windows(
        config,
        examples,
        trained.vocab_file,
        trained.lower_case,
        output_dir,
        is_training=False,
    )
    logits = span_prediction.predict_logits(
        trained.model,
        questions.features,
        config.validation_data.global_batch_size,
    )
    return _Answered(
        questions.decode(*logits, options),
        trained,
        training_loop.saved_step(trained.folder) if trained.folder else 0,
    )


def _check(config, evaluate):
    """Raises ValueError for fields that mean nothing."""
    for name in ("train_data", "validation_data"):
        size = getattr(config, name).global_batch_size
        if size < 1:
            raise ValueError(
                f"task.{name}.global_batch_size: expected at least 1, got "
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
        tuned not in _TUNED_METRICS or not config.version_2_with_negative
    ):
        raise ValueError(
            f"--tuned_null_threshold: got {tuned!r}, expected "
            f"{' or '.join(_TUNED_METRICS)} with --version_2_with_negative, "
            "or nothing"
        )
    threshold = config.decoding.null_score_diff_threshold
    if tuned and threshold:
        raise ValueError(
            f"--tuned_null_threshold={tuned} and --null_score_diff_threshold="
            f"{threshold}: expected one of them"
        )
    data_lib.check_lengths(config)
    _decoding_options(config, config.model.lower_case, threshold)


def _fill_in_steps(params, num_examples):
    """Returns trainer.train_steps, by the number of epochs if it is 0."""
    data = params.task.train_data
    if num_examples < data.global_batch_size:
        raise ValueError(
            f"{data.input_path}: {num_examples} questions are fewer than a "
            f"batch of {data.global_batch_size}"
        )
    if not params.trainer.train_steps:
        params.trainer.train_steps = int(
            num_examples / data.global_batch_size * params.task.num_train_epochs
        )
    return params.trainer.train_steps


def _null_threshold(config, folder):
    """Returns the threshold given, or that of the evaluation in `folder`."""
    tuned = config.decoding.tuned_null_threshold
    if not tuned:
        return config.decoding.null_score_diff_threshold
    metric = f"best_{tuned}_thresh"
    threshold = None
    if folder:
        threshold = model_selection.kept_metric(folder, _DEV, metric)
    if threshold is None:
        raise ValueError(
            f"--tuned_null_threshold={tuned}: no evaluation is kept with the "
            "model: run with --do_eval first"
        )
    logging.info("null threshold %.4f: %s of %s", threshold, metric, folder)
    return threshold


def _decoding_options(config, lower_case, null_threshold):
    return span_decoding.DecodingOptions(
        n_best_size=config.decoding.n_best_size,
        max_answer_length=config.decoding.max_answer_length,
        lower_case=lower_case,
        version_2_with_negative=config.version_2_with_negative,
        null_score_diff_threshold=null_threshold,
    )


def _score(config, examples, predictions):
    return span_prediction.score(
        examples, predictions, config.version_2_with_negative
    )


def _record(config, answered, names, metrics, output_dir):
    """Writes the scores to evaluation_NAME.json, for each name."""
    record = model_selection.EvaluationRecord(
        output_dir, (), config.selection_metric
    )
    for name in names:
        record(answered.trained.model, answered.step, metrics, {name: {}})


def _write(config, predictions, output_dir):
    """Writes the answers in the official files, each whole or not at all."""
    texts, n_best, null_odds = span_decoding.json_files(predictions)
    contents = {"predictions": texts, "nbest_predictions": n_best}
    if config.version_2_with_negative:
        contents["null_odds"] = null_odds
    for name, content in contents.items():
        path = os.path.join(output_dir, f"{name}.json")
        files.write_text(path, json.dumps(content, indent=4) + "\n")
    logging.info("wrote %d predictions to %s", len(texts), output_dir)
