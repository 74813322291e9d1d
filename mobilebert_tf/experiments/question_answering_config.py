"""Experiment configuration of fine-tuning on extractive question answering."""

import dataclasses

from official.core import config_definitions
from official.modeling.hyperparams import base_config

from mobilebert_tf import runtime
from mobilebert_tf.experiments import model_config
from mobilebert_tf.experiments import optimization_config


@dataclasses.dataclass
class QuestionAnsweringDataConfig(base_config.Config):
    """Batches of windows of a file in SQuAD's layout.

    Attributes:
        input_path: str. The JSON file.
        global_batch_size: int. Windows per step over all replicas.
        is_training: bool. Shuffle and repeat.
        seed: int. Of the shuffling.
    """

    input_path: str = ""
    global_batch_size: int = 32
    is_training: bool = True
    seed: int = 0


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
class QuestionAnsweringTaskConfig(config_definitions.TaskConfig):
    """Fine-tuning on SQuAD v1.1, v2.0 or data in their layout.

    Attributes:
        init_checkpoint: str. Pre-trained model of any format of
            mobilebert_tf.checkpoints; "" starts from random weights. What it
            says of network and vocabulary, `model` may repeat, dropout apart.
        data_dir: str. Folder of the caches of windows; "" is "features" in
            the model's folder.
        version_2_with_negative: bool. Questions may have no answer (v2.0).
        max_seq_length: int. Tokens per window.
        doc_stride: int. Tokens from the start of a window to the next.
        max_query_length: int. Tokens of the question, longer ones are cut.
        num_train_epochs: float. Sets trainer.train_steps when that is 0, by
            the number of questions, not of windows, as the official code does.
        warmup_proportion: float. Share of the steps with rising rate, when
            the optimizer config has no warm-up of its own.
        decoding: from logits to answers.
        selection_metric: str. Official score that selects the best checkpoint.
        keep_best: bool. Whether the weights of the best evaluation of a run
            are kept in model_dir/best.
        early_stopping_patience: int. The run ends when so many evaluations in
            a row were not better than the best before; 0 never ends it early.
        seed: int. Of initialisation and dropout.
        gradient_accumulation_steps: int. Parts that a batch is worked through
            in, one after the other; the update is that of the whole batch.
    """

    model: model_config.ModelConfig = dataclasses.field(
        default_factory=model_config.ModelConfig
    )
    data_dir: str = ""
    version_2_with_negative: bool = False
    max_seq_length: int = 384
    doc_stride: int = 128
    max_query_length: int = 64
    num_train_epochs: float = 3.0
    warmup_proportion: float = 0.1
    decoding: DecodingConfig = dataclasses.field(default_factory=DecodingConfig)
    selection_metric: str = "f1"
    keep_best: bool = True
    early_stopping_patience: int = 0
    seed: int = 0
    gradient_accumulation_steps: int = 1
    train_data: QuestionAnsweringDataConfig = dataclasses.field(
        default_factory=QuestionAnsweringDataConfig
    )
    validation_data: QuestionAnsweringDataConfig = dataclasses.field(
        default_factory=lambda: QuestionAnsweringDataConfig(is_training=False)
    )


def question_answering() -> config_definitions.ExperimentConfig:
    """Defaults of run_squad: those of the official run_squad.py."""
    return config_definitions.ExperimentConfig(
        runtime=runtime.RuntimeConfig(distribution_strategy="one_device"),
        task=QuestionAnsweringTaskConfig(),
        trainer=config_definitions.TrainerConfig(
            train_steps=0,
            steps_per_loop=100,
            checkpoint_interval=1000,
            validation_steps=-1,
            optimizer_config=optimization_config.adamw(
                5e-5, 5e-9, warmup_steps=0
            ),
        ),
    )
