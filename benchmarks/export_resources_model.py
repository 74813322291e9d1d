r"""Writes the model and the task that export_resources.py exports.

    python -m benchmarks.export_resources_model --folder=out/model

A full-size classifier with random weights and, in the folder's task, sentences
of random words. Those to verify on are the ones of which the model is surest,
labelled with its own answers.
"""

import os

import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks import export_weights
from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.data import glue
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models

LENGTH = 128
NUM_DEV_EXAMPLES = 50
_NUM_TRAIN_EXAMPLES = 200
_BATCH_SIZE = 50
_LABELS = ("0", "1")


def write(folder: str, config: config_lib.MobileBertConfig) -> None:
    """Writes a classifier's folder with its task in `folder`/task."""
    os.makedirs(folder, exist_ok=True)
    num_words = config.vocab_size - len(tokenization.SPECIAL_TOKENS)
    words = [f"word{i}" for i in range(num_words)]
    vocabulary = [*tokenization.SPECIAL_TOKENS, *words]
    vocab_file = os.path.join(folder, model_directory.VOCAB_FILE)
    files.write_text(vocab_file, "".join(f"{word}\n" for word in vocabulary))
    model = models.MobileBertForSequenceClassification(config, len(_LABELS))
    model.build_weights()
    export_weights.randomize(model.variables)
    task_dir = os.path.join(folder, "task")
    tokenizer = tokenization.WordPieceTokenizer(vocab_file)
    _write_task(task_dir, model, tokenizer, words)
    info = model_directory.ModelInfo(
        model_directory.SEQUENCE_CLASSIFICATION,
        LENGTH,
        task_name="SST-2",
        labels=_LABELS,
        data_dir=task_dir,
    )
    model_directory.write(folder, config, info, vocab_file)
    checkpoint = tf.train.Checkpoint(model=model)
    tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1).save()


def _write_task(folder, model, tokenizer, words):
    generator = np.random.default_rng(export_weights.SEED)
    os.makedirs(folder, exist_ok=True)
    sentences = [
        " ".join(generator.choice(words, generator.integers(1, LENGTH - 1)))
        for _ in range(_NUM_TRAIN_EXAMPLES + 2 * NUM_DEV_EXAMPLES)
    ]
    train = sentences[:_NUM_TRAIN_EXAMPLES]
    dev = sentences[_NUM_TRAIN_EXAMPLES:]
    inputs = glue.features(
        [glue.Example(guid="", text_a=sentence) for sentence in dev],
        tokenizer,
        LENGTH,
        labels=(),
    )
    logits = np.concatenate(
        [
            model(
                {name: ids[i : i + _BATCH_SIZE] for name, ids in inputs.items()}
            )["logits"]
            for i in range(0, len(dev), _BATCH_SIZE)
        ]
    )
    margins = logits[:, 1] - logits[:, 0]
    bias = model.classifier.dense.bias
    bias.assign(bias + [np.median(margins), 0.0])
    margins -= np.median(margins)
    surest = np.sort(np.argsort(-np.abs(margins))[:NUM_DEV_EXAMPLES])
    # Calibration looks at no label.
    _write_rows(folder, glue.TRAIN, [(text, 0) for text in train])
    _write_rows(
        folder, glue.DEV, [(dev[i], int(margins[i] > 0)) for i in surest]
    )


def _write_rows(folder, split, rows):
    lines = [f"{text}\t{label}\n" for text, label in rows]
    files.write_text(
        os.path.join(folder, f"{split}.tsv"),
        "sentence\tlabel\n" + "".join(lines),
    )


def main(argv):
    del argv
    write(flags.FLAGS.folder, config_lib.mobilebert())


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_string("folder", None, "Where to write.", required=True)


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
