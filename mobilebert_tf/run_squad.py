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
from mobilebert_tf.fine_tuning import form_evaluation
from mobilebert_tf.fine_tuning import question_answering
from mobilebert_tf.fine_tuning import squad_flags

squad_flags.define()


def main(argv):
    del argv
    paths = fine_tuning_flags.paths_to_evaluate()
    params = squad_flags.build()
    if paths:
        form_evaluation.run(
            question_answering.QuestionAnswering(params),
            paths,
            flags.FLAGS.model_dir,
        )
        return
    scores = question_answering.run(
        params,
        flags.FLAGS.model_dir,
        do_train=flags.FLAGS.do_train,
        do_eval=flags.FLAGS.do_eval,
        do_predict=flags.FLAGS.do_predict,
    )
    if scores:
        print(json.dumps(scores))


if __name__ == "__main__":
    cli.run(main)
