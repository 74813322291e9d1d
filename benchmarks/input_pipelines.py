r"""Input pipelines of pre-training: how many examples a second each gives.

    python benchmarks/input_pipelines.py --input_file='books/*.txt' \
      --vocab_file=vocab.txt

Without files it makes a text. From the text it writes masked records
("examples") and unmasked ones ("tokens"), and then reads in turns: the masked
records, the others with each masking, the raw text. A turn is a new iterator
that gives --num_examples, so that nothing is made ready before its clock
starts; starting counts. The table has the median of the turns.
"""

import os
import random
import statistics
import tempfile
import time

import tensorflow as tf
from absl import flags
from absl import logging

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import text_table
from mobilebert_tf import tokenization
from mobilebert_tf import wordpiece
from mobilebert_tf.data import dynamic_masking
from mobilebert_tf.data import pretraining
from mobilebert_tf.data import raw_text
from mobilebert_tf.data import token_records
from mobilebert_tf.experiments import model_config
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.tasks import pretraining_inputs

_WORDS = 4000
_SENTENCES = 60_000
_SENTENCES_PER_DOCUMENT = 30


def make_text(folder: str) -> tuple[str, str]:
    """Writes about 5 MB of made-up text and its vocabulary.

    Returns:
        Paths of the text and the vocabulary.
    """
    rng = random.Random(0)
    syllables = [a + b for a in "bcdfghklmnprst" for b in "aeiou"]
    words = [
        (rng.choice(syllables), "".join(rng.choices(syllables, k=2)))
        for _ in range(_WORDS)
    ]
    # Every fourth word is two pieces.
    pieces = [
        piece
        for index, (first, rest) in enumerate(words)
        for piece in ([first + rest] if index % 4 else [first, f"##{rest}"])
    ]
    tokens = dict.fromkeys([*tokenization.SPECIAL_TOKENS, ".", *pieces])
    weights = [1 / (rank + 1) for rank in range(_WORDS)]
    lines = []
    for number in range(_SENTENCES):
        chosen = rng.choices(words, weights, k=rng.randint(5, 20))
        lines.append(" ".join(first + rest for first, rest in chosen) + ".")
        if number % _SENTENCES_PER_DOCUMENT == 0:
            lines.append("")
    text_file = os.path.join(folder, "text.txt")
    vocab_file = os.path.join(folder, "vocab.txt")
    files.write_text(text_file, "\n".join(lines) + "\n")
    files.write_text(vocab_file, "\n".join(tokens) + "\n")
    return text_file, vocab_file


def write_records(folder: str, text_file: str, vocab_file: str) -> dict:
    """Writes the same pairs with and without masks.

    Returns:
        {data_format: path}, the text's too.
    """
    batches = raw_text.make_dataset(
        text_file.split(","),
        tokenization.WordPieceTokenizer(vocab_file),
        raw_text.PairOptions(flags.FLAGS.max_seq_length),
        flags.FLAGS.batch_size,
        is_training=False,
    )
    tokenizer = wordpiece.VocabularyTokenizer(vocab_file)
    masker = dynamic_masking.DynamicMasker(
        tokenizer,
        flags.FLAGS.max_predictions_per_seq,
        dynamic_masking.MaskingOptions(),
        seed=0,
    )
    paths = {"text": text_file}
    for name, dataset, features in (
        ("tokens", batches, token_records.FEATURES),
        (
            "examples",
            dynamic_masking.apply(batches, masker, flags.FLAGS.batch_size),
            pretraining.FEATURES,
        ),
    ):
        paths[name] = os.path.join(folder, name)
        with tf.io.TFRecordWriter(paths[name]) as writer:
            for batch in dataset.as_numpy_iterator():
                for record in _serialize(batch, features):
                    writer.write(record)
    return paths


def _serialize(batch, features):
    """Yields a tf.train.Example for each row."""
    names = {"input_ids": "input_word_ids", "segment_ids": "input_type_ids"}
    columns = {name: batch[names.get(name, name)].tolist() for name in features}
    for row in range(len(columns["input_ids"])):
        example = tf.train.Example()
        for name, (dtype, _) in features.items():
            feature = example.features.feature[name]
            kind = "float_list" if dtype == tf.float32 else "int64_list"
            getattr(feature, kind).value.extend(columns[name][row])
        yield example.SerializeToString()


def pipelines(paths: dict, vocab_file: str) -> dict:
    """Returns {name: function that returns a new data set}."""
    vocab_size = len(tokenization.load_vocabulary(vocab_file))
    model = model_config.ModelConfig(vocab_file=vocab_file)

    def make(data_format, strategy):
        data = pretraining_config.PretrainingDataConfig(
            data_format=data_format,
            masking=pretraining_config.MaskingConfig(strategy=strategy),
            input_path=paths[data_format],
            global_batch_size=flags.FLAGS.batch_size,
            max_seq_length=flags.FLAGS.max_seq_length,
            max_predictions_per_seq=flags.FLAGS.max_predictions_per_seq,
        )
        return lambda: pretraining_inputs.make_dataset(data, model, vocab_size)

    made = {"examples": make("examples", dynamic_masking.TOKEN)}
    for strategy in dynamic_masking.STRATEGIES:
        made[f"tokens, {strategy}"] = make("tokens", strategy)
    made["text, token"] = make("text", dynamic_masking.TOKEN)
    return made


def measure(make_dataset, num_batches: int) -> float:
    """Returns the seconds that a new iterator takes for some batches."""
    dataset = make_dataset()
    begin = time.monotonic()
    for _ in dataset.take(num_batches):
        pass
    return time.monotonic() - begin


def table(secs: dict[str, list[float]], num_examples: int) -> list[str]:
    """Returns the lines to print; ratios are to the first row."""
    rates = {
        name: num_examples / statistics.median(turns)
        for name, turns in secs.items()
    }
    base = next(iter(rates.values()))
    rows = [("pipeline", "examples/s", "ratio", "slowest", "fastest")]
    for name, rate in rates.items():
        slowest = num_examples / max(secs[name])
        fastest = num_examples / min(secs[name])
        rows.append(
            (
                name,
                f"{rate:,.0f}",
                f"{rate / base:.2f}",
                f"{slowest:,.0f}",
                f"{fastest:,.0f}",
            )
        )
    return text_table.lines(rows)


def main(argv):
    del argv
    if (flags.FLAGS.input_file is None) != (flags.FLAGS.vocab_file is None):
        raise ValueError(
            "--input_file and --vocab_file go together: got one of them"
        )
    num_batches = -(-flags.FLAGS.num_examples // flags.FLAGS.batch_size)
    with tempfile.TemporaryDirectory(prefix="input_pipelines_") as folder:
        text_file, vocab_file = flags.FLAGS.input_file, flags.FLAGS.vocab_file
        if text_file is None:
            text_file, vocab_file = make_text(folder)
        made = pipelines(
            write_records(folder, text_file, vocab_file), vocab_file
        )
        secs = {name: [] for name in made}
        for turn in range(flags.FLAGS.turns):
            for name, make_dataset in made.items():
                secs[name].append(measure(make_dataset, num_batches))
            logging.info("turn %d of %d", turn + 1, flags.FLAGS.turns)
    num_examples = num_batches * flags.FLAGS.batch_size
    print(
        f"{num_examples} examples of length {flags.FLAGS.max_seq_length} in "
        f"batches of {flags.FLAGS.batch_size}, {flags.FLAGS.turns} turns, "
        f"{os.cpu_count()} processors"
    )
    print("\n".join(table(secs, num_examples)))


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_string(
        "input_file", None, "Text files, separated by commas; default: made."
    )
    flags.DEFINE_string("vocab_file", None, "With --input_file.")
    flags.DEFINE_integer("max_seq_length", 128, "S.")
    flags.DEFINE_integer("max_predictions_per_seq", 20, "P.")
    flags.DEFINE_integer("batch_size", 32, "B.")
    flags.DEFINE_integer(
        "num_examples", 20_000, "Read in each turn.", lower_bound=1
    )
    flags.DEFINE_integer("turns", 5, "Of each.", lower_bound=1)


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
