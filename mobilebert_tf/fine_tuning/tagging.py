"""Runs fine-tuning, evaluation and prediction of a tagger."""

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging
from official.core import config_definitions

from mobilebert_tf import model_directory
from mobilebert_tf.data import columns
from mobilebert_tf.data import glue
from mobilebert_tf.data import tag_schemes
from mobilebert_tf.data import tagging as data
from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.fine_tuning import course
from mobilebert_tf.tasks import fine_tuning as fine_tuning_tasks
from mobilebert_tf.tasks import tagging as tasks


def run(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    do_train: bool,
    do_eval: bool,
    predict_split: str = "",
) -> dict[str, float]:
    """Fine-tunes (or continues), evaluates on dev, predicts.

    Args:
        params: fine_tuning_config.tagging() with overrides.
        model_dir: folder of checkpoints, logs and configuration.
        do_train: bool. Train on the train file.
        do_eval: bool. Evaluate on the dev file.
        predict_split: "dev", "test", or "" for none. Predictions go to
            model_dir/predictions_SPLIT.txt: the file's own lines, and the
            predicted tag as a last column.

    Returns:
        The dev metrics; empty without do_eval.

    Raises:
        ValueError: for wrong input, in one line.
    """
    config = params.task
    tag_schemes.check_scheme(config.scheme)
    tag_schemes.check_labels(config.labels, config.scheme)
    return course.run(
        params,
        model_dir,
        do_train,
        do_eval,
        predict_split,
        course.Steps(
            check=lambda split: data.read_words(
                course.path(config, split), config.word_column
            ),
            train=lambda output_dir, evaluate: _train(
                params, model_dir, output_dir, evaluate
            ),
            evaluate=lambda: _evaluate(params, model_dir),
            predict=lambda output_dir, split: _predict(
                config, model_dir, output_dir, split
            ),
        ),
    )


def load_tagger(model_dir: str) -> model_directory.TrainedModel:
    """Loads a fine-tuned tagger.

    Raises:
        ValueError: if `model_dir` holds another kind of model.
    """
    return course.load(model_dir, model_directory.TOKEN_CLASSIFICATION)


def predict_labels(
    model: tf_keras.Model, features: data.Features, batch_size: int = 64
) -> np.ndarray:
    """Returns the likeliest label at each position, int32 [N, S].

    Args:
        model: MobileBertForTokenClassification.
        features: N windows of S tokens.
        batch_size: int.
    """

    @tf.function
    def predict(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        inputs = fine_tuning_tasks.encoder_inputs(batch)
        logits = model(inputs, training=False)["logits"]  # [B, S, C]
        return tf.argmax(logits, -1, tf.int32)

    dataset = glue.make_dataset(
        features.arrays, batch_size, is_training=False, seed=0
    )
    return np.concatenate([predict(batch).numpy() for batch in dataset])


def _train(params, model_dir, output_dir, evaluate):
    config = params.task
    begin = course.start(config)
    sentences = data.read_sentences(
        course.path(config, course.TRAIN),
        _layout(config),
        config.labels or None,
    )
    tags = {tag for sentence in sentences for tag in sentence.tags}
    labels = tuple(config.labels) or tag_schemes.label_set(tags, config.scheme)
    logging.info("%d labels: %s", len(labels), " ".join(labels))
    train = data.features(
        sentences, begin.tokenizer, config.max_seq_length, labels
    )
    dev = _dev_features(config, begin.tokenizer, labels) if evaluate else None
    return course.train(
        params,
        model_dir,
        output_dir,
        begin,
        model_directory.TOKEN_CLASSIFICATION,
        labels,
        len(train.arrays["input_word_ids"]),
        lambda start_step: tasks.TaggingTask(
            config, begin.network, labels, train, dev, start_step, begin.encoder
        ),
        evaluate,
    )


def _evaluate(params, model_dir):
    trained = load_tagger(model_dir)
    labels = trained.info.labels
    config = course.with_model_info(params.task, trained.info)
    tag_schemes.check_labels(labels, config.scheme)
    dev = _dev_features(config, trained.tokenizer, labels)
    task = tasks.TaggingTask(
        config,
        model_directory.without_dropout(trained.config),
        labels,
        train_features=None,
        validation_features=dev,
    )
    return course.evaluate(params, task, model_dir)


def _predict(config, model_dir, output_dir, split):
    trained = load_tagger(model_dir)
    labels = trained.info.labels
    config = course.with_model_info(config, trained.info)
    source = course.path(config, split)
    sentences = data.read_words(source, config.word_column)
    features = data.features(
        sentences, trained.tokenizer, config.max_seq_length, labels
    )
    predictions = features.by_sentence(
        predict_labels(
            trained.model, features, config.validation_data.global_batch_size
        ),
        labels,
    )
    target = os.path.join(output_dir, f"predictions_{split}.txt")
    values = [tag for sentence in predictions for tag in sentence]
    columns.append_column(source, target, values)
    logging.info("wrote %d predictions to %s", len(values), target)


def _layout(config: fine_tuning_config.TaggingTaskConfig) -> data.Layout:
    return data.Layout(
        config.word_column,
        config.tag_column,
        config.scheme,
        config.check_transitions,
    )


def _dev_features(config, tokenizer, labels):
    path = course.path(config, course.DEV)
    sentences = data.read_sentences(path, _layout(config), labels)
    logging.info("%s: %d sentences", path, len(sentences))
    return data.features(sentences, tokenizer, config.max_seq_length, labels)
