"""Fine-tunes, evaluates and predicts on multiple choice in SWAG's layout.

    python -m mobilebert_tf.run_multiple_choice --data_dir=swag \
        --init_checkpoint=student --model_dir=swag_student \
        --do_train --do_eval --do_predict
"""

from mobilebert_tf import cli
from mobilebert_tf.experiments import multiple_choice_config
from mobilebert_tf.fine_tuning import fine_tuning_flags
from mobilebert_tf.fine_tuning import multiple_choice

fine_tuning_flags.define(fine_tuning_flags.FOLDER)


def main(argv):
    del argv
    fine_tuning_flags.run(
        multiple_choice.run,
        multiple_choice_config.multiple_choice(),
        multiple_choice.MultipleChoice,
        fine_tuning_flags.FOLDER,
    )


if __name__ == "__main__":
    cli.run(main)
