r"""Hugging Face's TFMobileBert, float32 and dynamic range, for export_latency.

    .venv-huggingface/bin/python benchmarks/export_huggingface.py \
        --length=128 --folder=out/huggingface

Runs in an environment of its own (`make huggingface`): the last releases of
transformers that have TensorFlow models ask for older packages. It imports
nothing of this project but the weights, which need numpy alone.
"""

import argparse
import os
import pathlib

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import export_weights
import tensorflow as tf
import transformers

_INPUTS = {
    "input_ids": "input_word_ids",
    "attention_mask": "input_mask",
    "token_type_ids": "input_type_ids",
}


def make_module(length: int) -> tf.Module:
    """Returns the encoder behind the inputs that the other files have."""
    model = transformers.TFMobileBertModel(transformers.MobileBertConfig())
    model.build()
    export_weights.randomize(model.variables)
    module = tf.Module()
    module.model = model

    @tf.function(
        input_signature=[
            tf.TensorSpec([1, length], tf.int32, name)
            for name in _INPUTS.values()
        ]
    )
    def serve(*inputs):
        outputs = model(dict(zip(_INPUTS, inputs, strict=True)))
        return {"sequence_output": outputs.last_hidden_state}

    module.serve = serve
    return module


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    module = make_module(arguments.length)
    function = module.serve.get_concrete_function()
    for variant in ("float32", "dynamic"):
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [function], module
        )
        if variant == "dynamic":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        path = arguments.folder / f"huggingface_{variant}.tflite"
        partial = path.with_suffix(".partial")
        partial.write_bytes(converter.convert())
        partial.rename(path)


if __name__ == "__main__":
    main()
