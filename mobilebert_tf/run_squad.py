"""Fine-tunes, evaluates and answers questions: SQuAD v1.1 and v2.0.

    python -m mobilebert_tf.run_squad --init_checkpoint=mobilebert \
        --train_file=train-v1.1.json --predict_file=dev-v1.1.json \
        --model_dir=squad --do_train --do_eval --do_predict

    python -m mobilebert_tf.run_squad --model_dir=squad --do_predict \
        --predict_file=questions.json

The commands of google-research/mobilebert run as they are.
"""

import json

from absl import flags

from mobilebert_tf import cli
from mobilebert_tf.fine_tuning import fine_tuning_flags
from mobilebert_tf.fine_tuning import kinds
from mobilebert_tf.fine_tuning import question_answering
from mobilebert_tf.fine_tuning import squad_flags

squad_flags.define()


def main(argv):
    del argv
    fine_tuning_flags.check_evaluate()
    scores = fine_tuning_flags.act(
        _run,
        question_answering.QuestionAnswering,
        squad_flags.build(),
        kinds.DEV if flags.FLAGS.do_predict else "",
    )
    if scores:
        print(json.dumps(scores))


def _run(params, model_dir, do_train, do_eval, predict_split):
    return question_answering.run(
        params, model_dir, do_train, do_eval, do_predict=bool(predict_split)
    )


if __name__ == "__main__":
    cli.run(main)
