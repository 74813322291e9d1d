"""Steps of full_size.py that are no command of the package."""

import os

import numpy as np
import tensorflow as tf
from absl import flags

from mobilebert_tf import cli
from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.checkpoints import names
from mobilebert_tf.checkpoints import weight
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models

_STEP = flags.DEFINE_enum("step", None, ["run", "write", "compare"], "Which.")
_FOLDER = flags.DEFINE_string("folder", None, "Of the first TF1 checkpoint.")
_OTHER = flags.DEFINE_string("other", None, "Of the checkpoint to compare.")

_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LENGTH = 128


def run() -> None:
    """Builds the pre-training network and runs it once.

    Raises:
        ValueError: if an output is not finite.
    """
    model = models.MobileBertForPreTraining(config_lib.mobilebert())
    ids = np.arange(_LENGTH, dtype=np.int32)[np.newaxis]
    logits = model({"input_word_ids": ids})["masked_lm_logits"].numpy()
    if not np.isfinite(logits).all():
        raise ValueError("masked_lm_logits: expected finite numbers")


def write(folder: str) -> None:
    """Writes a TF1 checkpoint with every weight drawn at random."""
    config = config_lib.mobilebert()
    generator = np.random.default_rng(0)
    head = model_directory.PRETRAINING
    checkpoint = checkpoint_lib.Checkpoint(
        config=config,
        info=model_directory.ModelInfo(head, max_seq_length=_LENGTH),
        values={
            each.name: generator.standard_normal(each.shape, np.float32)
            for each in names.list_weights(config, head)
        },
        vocabulary=_make_vocabulary(config.vocab_size),
    )
    conversion.write(checkpoint, folder, weight.TF1)


def compare(folder: str, other: str) -> None:
    """Compares two TF1 checkpoints bit for bit.

    Raises:
        ValueError: if they differ, naming a variable.
    """
    first, second = (_open(path) for path in (folder, other))
    expected = first.get_variable_to_shape_map()
    actual = second.get_variable_to_shape_map()
    if actual.keys() != expected.keys():
        name = min(actual.keys() ^ expected.keys())
        raise ValueError(f"{name}: expected in both checkpoints, got one")
    for name in expected:
        if (
            first.get_tensor(name).tobytes()
            != second.get_tensor(name).tobytes()
        ):
            raise ValueError(f"{name}: expected equal values, got others")


def _open(folder):
    (index,) = (name for name in os.listdir(folder) if name.endswith(".index"))
    return tf.train.load_checkpoint(
        os.path.join(folder, index.removesuffix(".index"))
    )


def _make_vocabulary(size):
    words = (f"word{i}" for i in range(size - len(_SPECIAL_TOKENS)))
    return "".join(
        f"{token}\n" for token in (*_SPECIAL_TOKENS, *words)
    ).encode()


def main(argv):
    del argv
    if _STEP.value == "run":
        run()
    elif _STEP.value == "write":
        write(_FOLDER.value)
    else:
        compare(_FOLDER.value, _OTHER.value)


if __name__ == "__main__":
    cli.run(main)
