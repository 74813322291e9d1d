"""Five numbers of each output of each preset, from weights drawn by NumPy.

They guard against changes that no one meant. Where a change is meant:

    python tests/modeling/golden_slices.py

writes tests/testdata/golden_slices.json anew (half a minute, 3 GB of memory);
say in the commit why the numbers moved. That they are right in the first
place is shown by the tests of parity with Hugging Face, the Model Garden and
tests/modeling/numpy_reference.py.
"""

import json
import pathlib
import unittest.mock
import zlib

import numpy as np
from absl import app
from absl import logging

from mobilebert_tf import files
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import models

FILE = pathlib.Path(__file__).parents[1] / "testdata" / "golden_slices.json"
# Over the largest of the five numbers. With and without oneDNN's kernels, which
# sum in another order, and in float64 they were within 1.5e-6.
TOLERANCE = 2e-5

_TEXTS = 2
_LENGTH = 16
_REAL_TOKENS = 11  # of the second text
_NUMBERS = 5


def compute(
    config: config_lib.MobileBertConfig, seed: int = 0
) -> dict[str, np.ndarray]:
    """Returns five numbers of each output of a network with drawn weights.

    Args:
        config: of the network.
        seed: of the weights.
    """
    # Drawing initial weights takes the teacher ten seconds.
    with unittest.mock.patch.object(
        configured, "kernel_initializer", lambda config: "zeros"
    ):
        model = models.MobileBertForPreTraining(config, name="golden")
        model.build_weights()
    _draw_weights(model, seed)
    outputs = model(_make_inputs(config))
    middle = config.num_hidden_layers // 2
    tensors = {
        "embeddings": outputs["encoder_outputs"][0],
        "first_block": outputs["encoder_outputs"][1],
        "middle_block": outputs["encoder_outputs"][middle],
        "sequence_output": outputs["sequence_output"],
        "pooled_output": outputs["pooled_output"],
        # Of the first text, which has no padding.
        "first_attention_scores": outputs["attention_scores"][0][0],
        "last_attention_scores": outputs["attention_scores"][-1][0],
        "masked_lm_logits": outputs["masked_lm_logits"],
        "next_sentence_logits": outputs["next_sentence_logits"],
    }
    return {name: _pick(tensor) for name, tensor in tensors.items()}


def read() -> dict[str, dict[str, list[float]]]:
    """Returns the stored numbers by preset and output."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def relative_error(actual, expected) -> float:
    """Returns the largest error over the largest expected number."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    return float(np.max(np.abs(actual - expected)) / np.max(np.abs(expected)))


def _draw_weights(model, seed):
    """Draws each variable from a seed of its name, in whatever order.

    Kernels are small enough that 24 blocks without LayerNorm neither saturate
    attention nor overflow.
    """
    for variable in model.weights:
        key = zlib.crc32(variable.name.encode())
        generator = np.random.default_rng([key, seed])
        values = generator.standard_normal(variable.shape, np.float32)
        name = variable.name.split("/")[-1]
        if name.startswith("gamma"):
            values = 1.0 + 0.1 * values
        elif name.startswith("kernel"):
            values *= np.float32(0.5 / np.sqrt(variable.shape[0]))
        else:
            values *= np.float32(0.3)
        variable.assign(values)


def _make_inputs(config):
    generator = np.random.default_rng(0)
    ids = generator.integers(0, config.vocab_size, [_TEXTS, _LENGTH])
    lengths = np.array([[_LENGTH], [_REAL_TOKENS]])
    positions = np.arange(_LENGTH)[np.newaxis]
    return {
        "input_word_ids": ids.astype(np.int32),
        "input_mask": (positions < lengths).astype(np.int32),
        "input_type_ids": (positions >= lengths // 2).astype(np.int32),
    }


def _pick(tensor):
    values = np.asarray(tensor).reshape(-1)
    count = min(_NUMBERS, len(values))
    return values[np.linspace(0, len(values) - 1, count).astype(int)]


def main(argv):
    del argv
    slices = {}
    for name in config_lib.PRESETS:
        logging.info("%s", name)
        slices[name] = {
            output: [float(f"{number:.8g}") for number in numbers]
            for output, numbers in compute(config_lib.preset(name)).items()
        }
    files.write_text(str(FILE), json.dumps(slices, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
