"""Experiment configuration of fine-tuning on extractive question answering."""

import dataclasses

from official.core import config_definitions
from official.modeling.hyperparams import base_config

from mobilebert_tf.experiments import fine_tuning_config


@dataclasses.dataclass
class QuestionAnsweringDataConfig(fine_tuning_config.DataConfig):
    """Batches of windows of a file in SQuAD's layout.

    Attributes:
        input_path: str. The JSON file.
    """

    input_path: str = ""


@dataclasses.dataclass
class DecodingConfig(base_config.Config):
    """From logits to answers; see evaluation.span_decoding.DecodingOptions.

    Attributes:
        n_best_size: int. Starts, ends and answers considered.
        max_answer_length: int. In tokens.
        null_score_diff_threshold: float. Of v2.0: there is no answer if the
            null score exceeds that of the best answer by more.
        tuned_null_threshold: str. "exact" or "f1" takes instead, when
            predicting, the threshold that was best by that score in the
            evaluation that is kept with the model; "" does not.
    """

    n_best_size: int = 20
    max_answer_length: int = 30
    null_score_diff_threshold: float = 0.0
    tuned_null_threshold: str = ""


@dataclasses.dataclass
class QuestionAnsweringTaskConfig(fine_tuning_config.FineTuningTaskConfig):
    """Fine-tuning on SQuAD v1.1, v2.0 or data in their layout.

    The number of steps follows from that of questions, not of windows, as in
    the official code.

    Attributes:
        data_dir: str. Folder of the caches of windows; "" is "features" in
            the model's folder.
        version_2_with_negative: bool. Questions may have no answer (v2.0).
        doc_stride: int. Tokens from the start of a window to the next.
        max_query_length: int. Tokens of the question, longer ones are cut.
        decoding: from logits to answers.
    """

    data_dir: str = ""
    version_2_with_negative: bool = False
    max_seq_length: int = 384
    doc_stride: int = 128
    max_query_length: int = 64
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)
    train_data: QuestionAnsweringDataConfig = dataclasses.field(
        default_factory=QuestionAnsweringDataConfig
    )
    validation_data: QuestionAnsweringDataConfig = dataclasses.field(
        default_factory=lambda: QuestionAnsweringDataConfig(is_training=False)
    )


def question_answering() -> config_definitions.ExperimentConfig:
    """Defaults of run_squad: those of the official run_squad.py."""
    return fine_tuning_config.experiment(QuestionAnsweringTaskConfig())
