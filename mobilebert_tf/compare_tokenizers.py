"""Shows what an on-device client makes of your texts, against BERT.

    python -m mobilebert_tf.compare_tokenizers --vocab_file=vocab.txt \
        --input_file=texts.txt
    python -m mobilebert_tf.compare_tokenizers --vocab_file=vocab.txt \
        --text="Die Straße im Café"

Models are trained on BERT's tokens; apps with MediaPipe's or Task Library's
text clients feed others for some words (docs/tokenization.md). Differing
words stand in « ». Starts without TensorFlow.
"""

from absl import flags

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import tokenizer_comparison

_VOCAB_FILE = flags.DEFINE_string("vocab_file", None, "The model's vocabulary.")
_INPUT_FILE = flags.DEFINE_string("input_file", None, "A UTF-8 text per line.")
_TEXT = flags.DEFINE_multi_string("text", None, "A text; may be repeated.")
_MAX_EXAMPLES = flags.DEFINE_integer(
    "max_examples", 20, "Differing texts to show.", lower_bound=0
)
_DO_LOWER_CASE = flags.DEFINE_bool(
    "do_lower_case", True, "Uncased model. Clients always lower-case."
)


def main(argv):
    del argv
    vocab_file = files.require_file(_VOCAB_FILE.value, "vocab_file")
    if bool(_TEXT.value) == bool(_INPUT_FILE.value):
        raise ValueError("expected either --input_file or --text")
    texts = _TEXT.value or tokenizer_comparison.read_texts(
        files.require_file(_INPUT_FILE.value, "input_file")
    )
    for line in tokenizer_comparison.report_lines(
        vocab_file, texts, _MAX_EXAMPLES.value, _DO_LOWER_CASE.value
    ):
        print(line)


if __name__ == "__main__":
    cli.run(main)
