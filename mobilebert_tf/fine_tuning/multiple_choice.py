"""Runs fine-tuning, evaluation and prediction on multiple choice."""

import os

from absl import logging
from official.core import config_definitions

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.data import multiple_choice as data
from mobilebert_tf.evaluation import prediction
from mobilebert_tf.fine_tuning import course
from mobilebert_tf.tasks import fine_tuning as fine_tuning_tasks
from mobilebert_tf.tasks import multiple_choice as tasks


def run(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    do_train: bool,
    do_eval: bool,
    predict_split: str = "",
) -> dict[str, float]:
    """Fine-tunes (or continues), evaluates on dev, predicts.

    Args:
        params: fine_tuning_experiments.multiple_choice() with overrides.
        model_dir: folder of checkpoints, logs and configuration.
        do_train: bool. Train on the train file.
        do_eval: bool. Evaluate on the dev file.
        predict_split: "dev", "test", or "" for none. Predictions go to
            model_dir/predictions_SPLIT.tsv: index, choice, and then the
            probability of each choice.

    Returns:
        The dev metrics; empty without do_eval.

    Raises:
        ValueError: for wrong input, in one line.
    """
    config = params.task
    return course.run(
        params,
        model_dir,
        do_train,
        do_eval,
        predict_split,
        course.Steps(
            check=lambda split: data.read_examples(
                course.path(config, split), has_labels=False
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


def load_model(model_dir: str) -> model_directory.TrainedModel:
    """Loads a model fine-tuned on multiple choice.

    Raises:
        ValueError: if `model_dir` holds another kind of model.
    """
    return course.load(model_dir, model_directory.MULTIPLE_CHOICE)


def _train(params, model_dir, output_dir, evaluate):
    config = params.task
    begin = course.start(config)
    train = _features(config, course.TRAIN, begin.tokenizer)
    dev = None
    if evaluate:
        dev = _features(config, course.DEV, begin.tokenizer)
    return course.train(
        params,
        model_dir,
        output_dir,
        begin,
        model_directory.MULTIPLE_CHOICE,
        (),
        len(train["label_ids"]),
        lambda start_step: tasks.MultipleChoiceTask(
            config, begin.network, train, dev, start_step, begin.encoder
        ),
        evaluate,
    )


def _evaluate(params, model_dir):
    trained = load_model(model_dir)
    config = course.with_model_info(params.task, trained.info)
    task = tasks.MultipleChoiceTask(
        config,
        model_directory.without_dropout(trained.config),
        train_features=None,
        validation_features=_features(config, course.DEV, trained.tokenizer),
    )
    return course.evaluate(params, task, model_dir)


def _predict(config, model_dir, output_dir, split):
    trained = load_model(model_dir)
    config = course.with_model_info(config, trained.info)
    features = _features(config, split, trained.tokenizer, has_labels=False)
    probabilities = prediction.predict_probabilities(
        trained.model,
        fine_tuning_tasks.encoder_inputs(features),
        config.validation_data.global_batch_size,
    )
    choices = [str(index) for index in range(probabilities.shape[1])]
    rows = ["\t".join(["index", "choice", *choices])]
    for index, row in enumerate(probabilities):
        fields = [index, row.argmax(), *(f"{p:.6f}" for p in row)]
        rows.append("\t".join(map(str, fields)))
    path = os.path.join(output_dir, f"predictions_{split}.tsv")
    files.write_text(path, "\n".join(rows) + "\n")
    logging.info("wrote %d predictions to %s", len(probabilities), path)


def _features(config, split, tokenizer, has_labels=True):
    path = course.path(config, split)
    examples = data.read_examples(path, has_labels)
    logging.info(
        "%s: %d examples of %d choices",
        path,
        len(examples),
        len(examples[0].choices),
    )
    return data.features(examples, tokenizer, config.max_seq_length)
