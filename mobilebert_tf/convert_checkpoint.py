"""Converts a checkpoint between TF1, Hugging Face, Garden and our own form.

    python -m mobilebert_tf.convert_checkpoint --from=tf1 --to=mobilebert_tf \
        --input=uncased_L-24_H-128_B-512_A-4_F-4_OPT.tar.gz --output=mobilebert
"""

from absl import flags

from mobilebert_tf import cli
from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.checkpoints import weight

_FROM = flags.DEFINE_enum(
    "from",
    conversion.AUTO,
    [conversion.AUTO, *weight.FORMATS],
    "Format of --input.",
)
_TO = flags.DEFINE_enum("to", None, weight.FORMATS, "Format of --output.")
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "tf1: archive, folder or checkpoint prefix. huggingface: folder or file. "
    "garden, mobilebert_tf: folder or checkpoint prefix.",
)
_OUTPUT = flags.DEFINE_string("output", None, "New folder.")
_CONFIG_FILE = flags.DEFINE_string(
    "config_file",
    None,
    "bert_config.json (huggingface: config.json), if not beside --input.",
)
_VOCAB_FILE = flags.DEFINE_string(
    "vocab_file", None, "vocab.txt, if not beside --input."
)
_HEAD = flags.DEFINE_enum(
    "head",
    None,
    model_directory.HEADS,
    "Head of the output; by default the one that --input has. One that it "
    "lacks is initialised at random.",
)
_LABELS = flags.DEFINE_list(
    "labels", [], "Label names in the order of the logits."
)
_SCOPE = flags.DEFINE_string(
    "scope",
    "",
    'tf1: prefix of the names, "teacher" in a distillation checkpoint. '
    "garden: object path of the encoder, if there are several.",
)
_DO_LOWER_CASE = flags.DEFINE_bool(
    "do_lower_case",
    None,
    "Uncased vocabulary; by default what --input says, or true.",
)
_MAX_SEQ_LENGTH = flags.DEFINE_integer(
    "max_seq_length",
    0,
    "Tokens per example; by default what --input says, or all positions. A "
    "model should be used at the padded length that it was trained with.",
)


def main(argv):
    del argv
    for flag in (_TO, _INPUT, _OUTPUT):
        if not flag.value:
            raise ValueError(f"--{flag.name} is required: got nothing")
    accounting = conversion.convert(
        _INPUT.value,
        _OUTPUT.value,
        _FROM.value,
        _TO.value,
        config_file=_CONFIG_FILE.value,
        vocab_file=_VOCAB_FILE.value,
        head=_HEAD.value,
        labels=tuple(_LABELS.value),
        scope=_SCOPE.value,
        lower_case=_DO_LOWER_CASE.value,
        max_seq_length=_MAX_SEQ_LENGTH.value,
    )
    print(accounting)
    print(f"wrote {_OUTPUT.value}")


if __name__ == "__main__":
    cli.run(main)
