"""Fine-tunes, evaluates and predicts: GLUE, or a user's own table.

    python -m mobilebert_tf.run_classifier --task_name=SST-2 \
        --data_dir=glue/SST-2 --init_checkpoint=student --model_dir=sst2 \
        --do_train --do_eval --do_predict

    python -m mobilebert_tf.run_classifier \
        --config_file=configs/glue/mrpc.yaml --search \
        --init_checkpoint=student --model_dir=mrpc

    python -m mobilebert_tf.run_classifier --train_file=reviews.csv \
        --dev_file=dev.csv --text_column=review --label_column=stars \
        --init_checkpoint=student --model_dir=reviews --do_train --do_eval

    python -m mobilebert_tf.run_classifier --model_dir=sst2 \
        --evaluate=sst2,sst2/tflite/model_int8.tflite
"""

from mobilebert_tf import cli
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_flags
from mobilebert_tf.fine_tuning import classification
from mobilebert_tf.fine_tuning import fine_tuning_flags

_Field = experiment_flags.Field

_SOURCES = {
    "task_name": _Field(str, "task.task_name", "GLUE task."),
    "train_file": _Field(
        str, "task.table.train_file", "TSV, CSV or JSONL to train on."
    ),
    "dev_file": _Field(str, "task.table.dev_file", "Likewise to evaluate on."),
    "test_file": _Field(str, "task.table.test_file", "Likewise to predict on."),
}
_FLAG_TABLE = {
    **fine_tuning_flags.COMMON,
    **_SOURCES,
    "data_dir": _Field(
        str,
        "task.data_dir",
        "Folder of the GLUE task's TSV files; none: of tensorflow-datasets.",
    ),
    "tfds_data_dir": _Field(
        str, "task.tfds_data_dir", "Folder of tensorflow-datasets."
    ),
    "text_column": _Field(str, "task.table.text_column", "Column of the text."),
    "text_b_column": _Field(
        str, "task.table.text_b_column", "Column of a pair's second text."
    ),
    "label_column": _Field(
        str, "task.table.label_column", "Column of the label."
    ),
    "regression": _Field(
        bool, "task.table.regression", "Labels are numbers to predict."
    ),
}
fine_tuning_flags.define(_FLAG_TABLE)


def main(argv):
    del argv
    fine_tuning_flags.run(
        classification.run,
        classification.Classification,
        classification_config.classification(),
        _FLAG_TABLE,
        sources=list(_SOURCES),
    )


if __name__ == "__main__":
    cli.run(main)
