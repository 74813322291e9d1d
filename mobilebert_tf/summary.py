"""Prints what a network costs, and what its weights and activations are.

python -m mobilebert_tf.summary --preset=mobilebert --seq_length=384
python -m mobilebert_tf.summary --model_dir=sst2 --text_file=texts.txt
"""

from absl import flags

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf.inspection import inspector
from mobilebert_tf.inspection import report
from mobilebert_tf.inspection import text_report

_MODEL_DIR = flags.DEFINE_string(
    "model_dir", None, "Folder of a trained model."
)
_PRESET = flags.DEFINE_string("preset", None, "Network, without weights.")
_BERT_CONFIG_FILE = flags.DEFINE_string(
    "bert_config_file", None, "bert_config.json, without weights."
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "Checkpoint of any format that can be converted."
)
_CONFIG_FILE = flags.DEFINE_string(
    "config_file", None, "With --checkpoint: its config, if not beside it."
)
_VOCAB_FILE = flags.DEFINE_string(
    "vocab_file", None, "With --checkpoint: its vocabulary, if not beside it."
)
_DO_LOWER_CASE = flags.DEFINE_bool(
    "do_lower_case", None, "With --checkpoint: default, what it says."
)
_SEQ_LENGTH = flags.DEFINE_integer(
    "seq_length",
    None,
    "Tokens per sequence: of the MACs, and what texts are padded to; by "
    "default 128, or all positions if there are fewer.",
)
_TEXT = flags.DEFINE_string(
    "text", None, "Text to run on; two of a pair are separated by a tab."
)
_TEXT_FILE = flags.DEFINE_string(
    "text_file", None, "File of texts to run on, one per line."
)
_NUM_TEXTS = flags.DEFINE_integer(
    "num_texts", 64, "How many texts of the file to use at most."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "JSON file to write, everything in full."
)


def main(argv):
    del argv
    if _OUTPUT.value:
        files.require_writable_file(_OUTPUT.value, "output")
    summary = inspector.inspect(
        inspector.Options(
            model_dir=_MODEL_DIR.value,
            preset=_PRESET.value,
            bert_config_file=_BERT_CONFIG_FILE.value,
            checkpoint=_CHECKPOINT.value,
            config_file=_CONFIG_FILE.value,
            vocab_file=_VOCAB_FILE.value,
            lower_case=_DO_LOWER_CASE.value,
            seq_length=_SEQ_LENGTH.value,
            text=_TEXT.value,
            text_file=_TEXT_FILE.value,
            num_texts=_NUM_TEXTS.value,
        )
    )
    print("\n".join(text_report.lines(summary)))
    if _OUTPUT.value:
        report.write(summary, _OUTPUT.value)


if __name__ == "__main__":
    cli.run(main)
