"""The questions that a run trains on or answers, with their windows."""

import os
from collections.abc import Sequence

from absl import logging

from mobilebert_tf import files
from mobilebert_tf import wordpiece
from mobilebert_tf.data import squad
from mobilebert_tf.data import squad_features
from mobilebert_tf.evaluation import span_scoring
from mobilebert_tf.evaluation import span_set
from mobilebert_tf.experiments import question_answering_config

FOLDER = "features"

_TaskConfig = question_answering_config.QuestionAnsweringTaskConfig


def read_training(config: _TaskConfig) -> list[squad.Example]:
    """Reads the questions to train on.

    Raises:
        ValueError: see squad.read_examples.
    """
    return squad.read_examples(
        files.require_file(config.train_data.input_path, "train_file"),
        is_training=True,
        version_2_with_negative=config.version_2_with_negative,
    )


def read_evaluated(
    config: _TaskConfig, needs_answers: bool
) -> list[squad.Example]:
    """Reads the questions to answer.

    Raises:
        ValueError: see squad.read_examples; also if the file does not fit
            version_2_with_negative, or has no answers and needs them.
    """
    path = files.require_file(config.validation_data.input_path, "predict_file")
    examples = squad.read_examples(path)
    if not is_scorable(config, examples) and needs_answers:
        raise ValueError(
            f"{path}: got questions without answers, expected answers for "
            "--do_eval"
        )
    return examples


def is_scorable(config: _TaskConfig, examples: Sequence[squad.Example]) -> bool:
    """Returns whether the questions to answer come with answers."""
    return span_scoring.is_scorable(
        config.validation_data.input_path,
        examples,
        config.version_2_with_negative,
    )


def check_lengths(config: _TaskConfig) -> None:
    """Raises ValueError for lengths that leave no room for a context."""
    _window_options(config, is_training=False)


def with_windows(
    config: _TaskConfig,
    examples: Sequence[squad.Example],
    vocab_file: str,
    lower_case: bool,
    output_dir: str,
    is_training: bool,
    tokenizer_mode: str = wordpiece.BERT,
) -> span_set.Questions:
    """Makes the windows of questions, or takes them from their cache.

    Args:
        config: lengths, and the folder of the caches.
        examples: of read_training or read_evaluated.
        vocab_file: of the model.
        lower_case: whether that is uncased.
        output_dir: where FOLDER of the caches is if `config` names none.
        is_training: which of both they are.
        tokenizer_mode: one of wordpiece.MODES.

    Raises:
        ValueError: if there is nothing to train on.
    """
    data = config.train_data if is_training else config.validation_data
    path = data.input_path
    maker = squad_features.WindowMaker(
        vocab_file,
        _window_options(config, is_training),
        lower_case,
        tokenizer_mode,
    )
    purpose = "train" if is_training else "predict"
    features = squad_features.cached_features(
        examples,
        maker,
        os.path.join(
            config.data_dir or os.path.join(output_dir, FOLDER),
            f"{os.path.basename(path)}.{purpose}.features",
        ),
        squad_features.default_workers(len(examples)),
    )
    if is_training and not len(features["unique_ids"]):
        raise ValueError(
            f"{path}: got no window, expected text in some contexts"
        )
    logging.info(
        "%s: %d questions, %d windows of %d tokens",
        path,
        len(examples),
        len(features["unique_ids"]),
        config.max_seq_length,
    )
    vocabulary = maker.tokenizer.vocabulary
    return span_set.Questions(path, examples, features, vocabulary)


def _window_options(config, is_training):
    return squad_features.WindowOptions(
        config.max_seq_length,
        config.max_query_length,
        config.doc_stride,
        is_training,
    )
