"""Pre-trains a teacher, or a student with or without knowledge transfer.

Teacher:

    python -m mobilebert_tf.run_pretraining --preset=micro_teacher \
        --vocab_file=vocab.txt --input_file='train.tfrecord*' \
        --eval_input_file='eval.tfrecord*' --model_dir=teacher

Student, taught progressively by the teacher and then distilled:

    python -m mobilebert_tf.run_pretraining --preset=micro \
        --teacher_dir=teacher --input_file='train.tfrecord*' \
        --eval_input_file='eval.tfrecord*' --model_dir=student
"""

from absl import flags

from mobilebert_tf import cli
from mobilebert_tf import experiment_flags
from mobilebert_tf import experiments
from mobilebert_tf import pretraining

_OPTIMIZER = "trainer.optimizer_config"
_FLAG_TABLE = {
    "preset": (str, "task.model.preset", "Network."),
    "bert_config_file": (str, "task.model.bert_config_file", "Network."),
    "vocab_file": (
        str,
        "task.model.vocab_file",
        "Vocabulary; a student may leave it to its teacher.",
    ),
    "do_lower_case": (bool, "task.model.lower_case", "Uncased vocabulary."),
    "teacher_dir": (str, "task.teacher_dir", "Pre-trained teacher."),
    "init_checkpoint": (str, "task.init_checkpoint", "Folder to start from."),
    "input_file": (str, "task.train_data.input_path", "TFRecords."),
    "eval_input_file": (str, "task.validation_data.input_path", "TFRecords."),
    "train_batch_size": (int, "task.train_data.global_batch_size", "Batch."),
    "eval_batch_size": (
        int,
        "task.validation_data.global_batch_size",
        "Batch.",
    ),
    "max_seq_length": (int, "task.train_data.max_seq_length", "Tokens."),
    "max_predictions_per_seq": (
        int,
        "task.train_data.max_predictions_per_seq",
        "Masked positions.",
    ),
    "learning_rate": (
        float,
        f"{_OPTIMIZER}.learning_rate.polynomial.initial_learning_rate",
        "Peak rate.",
    ),
    "num_train_steps": (int, "trainer.train_steps", "Steps after transfer."),
    "num_warmup_steps": (
        int,
        f"{_OPTIMIZER}.warmup.linear.warmup_steps",
        "Warm-up.",
    ),
    "num_distill_steps": (
        int,
        "task.knowledge_transfer.num_steps",
        "Steps of all transfer stages together.",
    ),
    "save_checkpoints_steps": (
        int,
        "trainer.checkpoint_interval",
        "Steps between checkpoints.",
    ),
    "iterations_per_loop": (
        int,
        "trainer.steps_per_loop",
        "Steps between progress lines.",
    ),
    "distill_ground_truth_ratio": (
        float,
        "task.distillation.ground_truth_ratio",
        "alpha of pre-training distillation.",
    ),
    "distill_temperature": (
        float,
        "task.distillation.temperature",
        "Temperature of both models' logits.",
    ),
    "hidden_distill_factor": (
        float,
        "task.knowledge_transfer.feature_map_factor",
        "Weight of feature-map transfer.",
    ),
    "attention_distill_factor": (
        float,
        "task.knowledge_transfer.attention_factor",
        "Weight of attention transfer.",
    ),
}

_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "eval"],
    "train: train, with evaluation if there is data for it. eval: only that.",
)
experiment_flags.define_common()
experiment_flags.define_overrides(_FLAG_TABLE)


def main(argv):
    del argv
    params = experiment_flags.build_experiment(
        experiments.pretraining(), _FLAG_TABLE
    )
    pretraining.run(params, flags.FLAGS.model_dir, train=_MODE.value == "train")


if __name__ == "__main__":
    cli.run(main)
