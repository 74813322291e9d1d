"""Fine-tunes, evaluates and predicts on a task in the GLUE TSV layout.

    python -m mobilebert_tf.run_classifier --task_name=SST-2 \
        --data_dir=glue/SST-2 --init_checkpoint=student --model_dir=sst2 \
        --do_train --do_eval --do_predict
"""

from absl import flags

from mobilebert_tf import classification
from mobilebert_tf import cli
from mobilebert_tf import experiment_flags
from mobilebert_tf import experiments

_FLAG_TABLE = {
    "task_name": (str, "task.task_name", "GLUE task."),
    "data_dir": (str, "task.data_dir", "Folder of the task's TSV files."),
    "init_checkpoint": (
        str,
        "task.init_checkpoint",
        "Folder of the pre-trained model.",
    ),
    "preset": (str, "task.model.preset", "Network without init_checkpoint."),
    "bert_config_file": (
        str,
        "task.model.bert_config_file",
        "Network without init_checkpoint.",
    ),
    "vocab_file": (
        str,
        "task.model.vocab_file",
        "Vocabulary without init_checkpoint.",
    ),
    "do_lower_case": (bool, "task.model.lower_case", "Uncased vocabulary."),
    "max_seq_length": (int, "task.max_seq_length", "Tokens per example."),
    "train_batch_size": (int, "task.train_data.global_batch_size", "Batch."),
    "eval_batch_size": (
        int,
        "task.validation_data.global_batch_size",
        "Batch.",
    ),
    "learning_rate": (
        float,
        "trainer.optimizer_config.learning_rate.polynomial."
        "initial_learning_rate",
        "Peak rate.",
    ),
    "num_train_epochs": (float, "task.num_train_epochs", "Epochs."),
    "num_train_steps": (int, "trainer.train_steps", "Steps; 0: by epochs."),
    "warmup_proportion": (float, "task.warmup_proportion", "Warm-up share."),
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
}

_DO_TRAIN = flags.DEFINE_bool("do_train", False, "Train on train.tsv.")
_DO_EVAL = flags.DEFINE_bool("do_eval", False, "Evaluate on dev.tsv.")
_DO_PREDICT = flags.DEFINE_bool("do_predict", False, "Write predictions.")
_PREDICT_SPLIT = flags.DEFINE_enum(
    "predict_split", "test", ["dev", "test"], "Split of --do_predict."
)
experiment_flags.define_common()
experiment_flags.define_overrides(_FLAG_TABLE)


def main(argv):
    del argv
    params = experiment_flags.build_experiment(
        experiments.classification(), _FLAG_TABLE
    )
    classification.run(
        params,
        flags.FLAGS.model_dir,
        do_train=_DO_TRAIN.value,
        do_eval=_DO_EVAL.value,
        predict_split=_PREDICT_SPLIT.value if _DO_PREDICT.value else "",
    )


if __name__ == "__main__":
    cli.run(main)
