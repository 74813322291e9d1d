r"""Makes the .tflite files that export_latency.py compares ours with.

    python -m benchmarks.export_peers --peer=garden --length=128 \
        --folder=out/garden

A process for each: conversion takes memory that Python keeps. Those of Hugging
Face are export_huggingface.py's.
"""

import functools
import os
from collections.abc import Callable
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tf_keras
from absl import flags
from official.nlp.modeling import networks

from benchmarks import export_weights
from benchmarks import pretraining_distillation
from export import calibration
from export import graph_heads
from export import inference_graph
from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf.modeling import config as config_lib

NUM_EXAMPLES = 16
CALIBRATION_SEED = 1


def make_inputs(
    vocab_size: int, count: int, length: int, seed: int, is_padded: bool = True
) -> dict[str, np.ndarray]:
    """Returns int32 inputs [count, length] of two segments."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, vocab_size, [count, length])
    shortest = length // 4 if is_padded else length
    lengths = generator.integers(shortest, length + 1, [count, 1])
    positions = np.arange(length)[np.newaxis]
    mask = positions < lengths
    types = (positions >= lengths // 2) & mask
    return {
        "input_word_ids": (ids * mask).astype(np.int32),
        "input_mask": mask.astype(np.int32),
        "input_type_ids": types.astype(np.int32),
    }


def make_garden(config: config_lib.MobileBertConfig) -> tf_keras.Model:
    """Returns the Model Garden's pre-training model with random weights."""
    model = pretraining_distillation.make_garden(config)
    export_weights.randomize(model.variables)
    return model


def _make_garden_files(length):
    """Yields the Garden's encoder, float32 and as the converter quantises.

    Calibrated once with padding and once without, where its penalty on
    padding, -1e9, does not enter the range of the scores.
    """
    config = config_lib.mobilebert()
    module = _garden_module(make_garden(config).encoder_network, length)
    yield "float32", _convert(module)
    yield "dynamic", _convert(module, is_quantized=True)
    for name, is_padded in (("int8_padded", True), ("int8_unpadded", False)):
        inputs = make_inputs(
            config.vocab_size, NUM_EXAMPLES, length, CALIBRATION_SEED, is_padded
        )
        examples = list(calibration.single_rows(inputs))
        yield name, _convert(module, is_quantized=True, examples=examples)


def _make_bert_base(length):
    """Yields BERT_BASE, the Model Garden's."""
    encoder = networks.BertEncoder(
        config_lib.MobileBertConfig().vocab_size, dict_outputs=True
    )
    export_weights.randomize(encoder.variables)
    yield "float32", _convert(_garden_module(encoder, length))


def _make_roof(length):
    """Yields dense layers alone, of a size that suits the machine."""
    del length
    rows, width, num_layers = export_weights.ROOF_SHAPE
    generator = np.random.default_rng(export_weights.SEED)
    kernels = generator.normal(
        0.0, width**-0.5, [num_layers, width, width]
    ).astype(np.float32)

    module = tf.Module()

    @tf.function(
        input_signature=[tf.TensorSpec([rows, width], tf.float32, "inputs")]
    )
    def serve(inputs):
        for kernel in kernels:
            inputs = tf.matmul(inputs, tf.constant(kernel))
        return {"outputs": inputs}

    module.serve = serve
    inputs = generator.normal(size=[rows, width]).astype(np.float32)
    yield "float32", _convert(module)
    yield (
        "int8",
        _convert(module, is_quantized=True, examples=[{"inputs": inputs}]),
    )


def _garden_module(encoder, length):
    """Returns a tf.Module whose `serve` has the inputs of our files."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, length], tf.int32, name)
            for name in inference_graph.INPUT_NAMES
        ]
    )
    def serve(input_word_ids, input_mask, input_type_ids):
        outputs = encoder(
            {
                "input_word_ids": input_word_ids,
                "input_mask": input_mask,
                "input_type_ids": input_type_ids,
            }
        )
        return {graph_heads.SEQUENCE_OUTPUT: outputs["sequence_output"]}

    module = tf.Module()
    module.encoder = encoder
    module.serve = serve
    return module


def _convert(module, is_quantized=False, examples=None):
    """Converts with what TensorFlow's converter has; see its guides.

    Args:
        module: with a function `serve`.
        is_quantized: to dynamic range; to int8 with examples.
        examples: inputs by name, for the ranges of activations.
    """
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.serve.get_concrete_function()], module
    )
    if is_quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if examples is not None:
        converter.representative_dataset = functools.partial(iter, examples)
    return converter.convert()


PEERS: dict[str, Callable[[int], Iterator[tuple[str, bytes]]]] = {
    "garden": _make_garden_files,
    "bert_base": _make_bert_base,
    "roof": _make_roof,
}


def main(argv):
    del argv
    name = flags.FLAGS.peer
    for variant, content in PEERS[name](flags.FLAGS.length):
        path = os.path.join(flags.FLAGS.folder, f"{name}_{variant}.tflite")
        files.write_bytes(path, content)


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_enum("peer", None, sorted(PEERS), "Which to make.")
    flags.DEFINE_integer("length", 128, "Tokens of the input.")
    flags.DEFINE_string("folder", None, "Where to write.")
    flags.mark_flags_as_required(("peer", "folder"))


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
