"""Exports a fine-tuned classifier to verified .tflite files.

    python export/to_tflite.py --model_dir=/tmp/sst2 --output=/tmp/sst2_tflite

Writes model_float32.tflite, model_int8.tflite, vocab.txt, labels.txt,
report.json and report.html. Exits with 1 if a variant cannot be made or fails
its verification; the report is written all the same.
"""

from absl import flags
from absl import logging

from export import exporter
from export import quantization
from export import report
from mobilebert_tf import cli

_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Folder of a fine-tuned classifier."
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the files to write.")
_VARIANTS = flags.DEFINE_list(
    "variants", list(quantization.VARIANTS), "Which files to write."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "Folder of the task's files; default: the model's."
)
_TASK_NAME = flags.DEFINE_string(
    "task_name", None, "Task to verify on; default: the model's."
)
_MAX_SEQ_LENGTH = flags.DEFINE_integer(
    "max_seq_length", None, "Input length of the files; default: the model's."
)
_CALIBRATION_EXAMPLES = flags.DEFINE_integer(
    "calibration_examples",
    200,
    "Training examples that set the ranges of int8 activations.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Chooses the calibration examples.")
_MAX_METRIC_DROP = flags.DEFINE_float(
    "max_metric_drop",
    1.0,
    "Points (hundredths) that a file may lose in any metric of the task.",
)
_NUM_THREADS = flags.DEFINE_integer("num_threads", 2, "Of the interpreters.")


def main(argv):
    del argv
    if not flags.FLAGS["verbosity"].present:
        # The converter and the quantiser log their inner steps as news.
        logging.set_verbosity(logging.WARNING)
    options = exporter.Options(
        model_dir=_MODEL_DIR.value,
        output=_OUTPUT.value,
        variants=_VARIANTS.value,
        data_dir=_DATA_DIR.value,
        task_name=_TASK_NAME.value,
        max_seq_length=_MAX_SEQ_LENGTH.value,
        calibration_examples=_CALIBRATION_EXAMPLES.value,
        seed=_SEED.value,
        max_metric_drop=_MAX_METRIC_DROP.value,
        num_threads=_NUM_THREADS.value,
    )
    result = exporter.export(options)
    report.write(result, options.output)
    print(report.text(result))
    print(f"Report: {options.output}/{report.HTML_FILE}")
    failed = [v.name for v in result.variants if v.failures]
    if failed:
        raise ValueError(f"not fit for use: {', '.join(failed)} (see above)")


if __name__ == "__main__":
    cli.run(main)
