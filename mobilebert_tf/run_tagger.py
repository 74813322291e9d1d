"""Fine-tunes, evaluates and predicts on token classification (NER, ...).

    python -m mobilebert_tf.run_tagger --data_dir=conll2003 --scheme=iob1 \
        --train_file=eng.train --dev_file=eng.testa --test_file=eng.testb \
        --init_checkpoint=student --model_dir=ner \
        --do_train --do_eval --do_predict
"""

from mobilebert_tf import cli
from mobilebert_tf.data import tag_schemes
from mobilebert_tf.experiments import experiment_flags
from mobilebert_tf.experiments import tagging_config
from mobilebert_tf.fine_tuning import fine_tuning_flags
from mobilebert_tf.fine_tuning import tagging

_FLAG_TABLE = {
    **fine_tuning_flags.FOLDER,
    "scheme": experiment_flags.Field(
        tag_schemes.SCHEMES, "task.scheme", "How tags spell entities."
    ),
    "word_column": experiment_flags.Field(
        int, "task.word_column", "Index of the words; -1 is the last column."
    ),
    "tag_column": experiment_flags.Field(
        int, "task.tag_column", "Index of the tags; -1 is the last column."
    ),
}
fine_tuning_flags.define(_FLAG_TABLE)


def main(argv):
    del argv
    fine_tuning_flags.run(
        tagging.run,
        tagging_config.tagging(),
        tagging.Tagging,
        _FLAG_TABLE,
    )


if __name__ == "__main__":
    cli.run(main)
