"""Pre-trains a teacher, or a student with or without knowledge transfer.

Teacher:

    python -m mobilebert_tf.run_pretraining --preset=micro_teacher \
        --vocab_file=vocab.txt --input_file='train.tfrecord*' \
        --eval_input_file='eval.tfrecord*' --model_dir=teacher

Student, taught progressively by the teacher and then distilled:

    python -m mobilebert_tf.run_pretraining --preset=micro \
        --teacher_dir=teacher --input_file='train.tfrecord*' \
        --eval_input_file='eval.tfrecord*' --model_dir=student

The commands of google-research/mobilebert run as they are.
"""

from absl import flags

from mobilebert_tf import cli
from mobilebert_tf.training import pretraining
from mobilebert_tf.training import pretraining_flags

pretraining_flags.define()


def main(argv):
    del argv
    params = pretraining_flags.build()
    train, evaluate = pretraining_flags.modes(params)
    pretraining.run(params, flags.FLAGS.model_dir, train, evaluate)


if __name__ == "__main__":
    cli.run(main)
