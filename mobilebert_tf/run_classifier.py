"""Fine-tunes, evaluates and predicts: GLUE, or a user's own table.

    python -m mobilebert_tf.run_classifier --task_name=SST-2 \
        --data_dir=glue/SST-2 --init_checkpoint=student --model_dir=sst2 \
        --do_train --do_eval --do_predict

    python -m mobilebert_tf.run_classifier --train_file=reviews.csv \
        --dev_file=dev.csv --text_column=review --label_column=stars \
        --init_checkpoint=student --model_dir=reviews --do_train --do_eval
"""

from absl import flags

from mobilebert_tf import cli
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_flags
from mobilebert_tf.fine_tuning import classification

_FLAG_TABLE = {
    **experiment_flags.COMMON,
    "task_name": experiment_flags.Field(str, "task.task_name", "GLUE task."),
    "data_dir": experiment_flags.Field(
        str, "task.data_dir", "Folder of the task's TSV files."
    ),
    "train_file": experiment_flags.Field(
        str, "task.table.train_file", "TSV, CSV or JSONL to train on."
    ),
    "dev_file": experiment_flags.Field(
        str, "task.table.dev_file", "Likewise to evaluate on."
    ),
    "test_file": experiment_flags.Field(
        str, "task.table.test_file", "Likewise to predict on."
    ),
    "text_column": experiment_flags.Field(
        str, "task.table.text_column", "Column of the text."
    ),
    "text_b_column": experiment_flags.Field(
        str, "task.table.text_b_column", "Column of a pair's second text."
    ),
    "label_column": experiment_flags.Field(
        str, "task.table.label_column", "Column of the label."
    ),
    "regression": experiment_flags.Field(
        bool, "task.table.regression", "Labels are numbers to predict."
    ),
    "max_seq_length": experiment_flags.Field(
        int, "task.max_seq_length", "Tokens per example."
    ),
    "num_train_epochs": experiment_flags.Field(
        float, "task.num_train_epochs", "Epochs."
    ),
    "num_train_steps": experiment_flags.Field(
        int, "trainer.train_steps", "Steps; 0: by epochs."
    ),
    "warmup_proportion": experiment_flags.Field(
        float, "task.warmup_proportion", "Warm-up share."
    ),
}

_DO_TRAIN = flags.DEFINE_bool("do_train", False, "Train.")
_DO_EVAL = flags.DEFINE_bool("do_eval", False, "Evaluate on the dev set.")
_DO_PREDICT = flags.DEFINE_bool("do_predict", False, "Write predictions.")
_PREDICT_SPLIT = flags.DEFINE_enum(
    "predict_split", "test", ["dev", "test"], "Split of --do_predict."
)
experiment_flags.define_common()
experiment_flags.define_overrides(_FLAG_TABLE)


def main(argv):
    del argv
    params = experiment_flags.build_experiment(
        classification_config.classification(), _FLAG_TABLE
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
