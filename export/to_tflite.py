"""Exports a fine-tuned model to verified .tflite files.

    python export/to_tflite.py --model_dir=/tmp/sst2 --output=/tmp/sst2_tflite

Writes model_float32.tflite, model_int8.tflite, vocab.txt, labels.txt (of
heads with labels), report.json and report.html. Exits with 1 if a variant
cannot be made or fails its verification; the report is written all the same.

The model may be a classifier, a regression, a tagger, or one for questions or
multiple choice. The data to calibrate and verify on are those that it was
trained with, unless flags name others.
"""

from absl import flags
from absl import logging

from export import exporter
from export import file_maker
from export import quantization
from export import report
from export import verification
from mobilebert_tf import cli
from mobilebert_tf import wordpiece

_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Folder of a fine-tuned model."
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the files to write.")
_VARIANTS = flags.DEFINE_list(
    "variants",
    list(quantization.DEFAULT_VARIANTS),
    f"Which to write, of {', '.join(file_maker.VARIANTS)}.",
)
_DATA = {
    "data_dir": "Folder of the task's files.",
    "task_name": "GLUE task of a classifier.",
    "train_file": "File to calibrate on; of a tagger or multiple choice its "
    "name in data_dir.",
    "dev_file": "Likewise to verify on.",
    "predict_file": "JSON of questions to verify on.",
    "text_column": "Of a classifier's own files: column of the text.",
    "text_b_column": "Column of a pair's second text.",
    "label_column": "Column of the label.",
}
for _name, _text in _DATA.items():
    flags.DEFINE_string(_name, None, f"{_text} Default: the model's.")
_PARAMS_OVERRIDE = flags.DEFINE_string(
    "params_override",
    "",
    'Other fields of the experiment that the model records, "task.doc_stride='
    '64".',
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
    "Points (hundredths) that a file may lose in any score of the task.",
)
_MAX_RELATIVE_DROP = flags.DEFINE_float(
    "max_relative_drop",
    verification.MAX_RELATIVE_DROP,
    "Share of any score that a file may lose; MLPerf allows 0.07.",
)
_MIXED_PRECISION = flags.DEFINE_bool(
    "mixed_precision",
    True,
    "Keep sensitive parts of an int8 file that loses more in float32, until it "
    "does not.",
)
_TOKENIZATION = flags.DEFINE_enum(
    "tokenization",
    wordpiece.BERT,
    wordpiece.MODES,
    "Calibrate and verify on the model's own tokens, or on those that client "
    "libraries on a device make of the same texts.",
)
_INFERENCE_OUTPUT_TYPE = flags.DEFINE_enum(
    "inference_output_type",
    quantization.FLOAT32,
    quantization.OUTPUT_TYPES,
    "Number format of the outputs of int8 and int16x8; float32 in others.",
)
_LATENCY_SECS = flags.DEFINE_float(
    "latency_secs",
    2.0,
    "For which the latency of each file is measured here; 0: not at all.",
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
        data={name: flags.FLAGS[name].value for name in _DATA},
        params_override=_PARAMS_OVERRIDE.value,
        max_seq_length=_MAX_SEQ_LENGTH.value,
        calibration_examples=_CALIBRATION_EXAMPLES.value,
        seed=_SEED.value,
        max_metric_drop=_MAX_METRIC_DROP.value,
        max_relative_drop=_MAX_RELATIVE_DROP.value,
        mixed_precision=_MIXED_PRECISION.value,
        measure_secs=_LATENCY_SECS.value,
        num_threads=_NUM_THREADS.value,
        tokenization=_TOKENIZATION.value,
        inference_output_type=_INFERENCE_OUTPUT_TYPE.value,
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
