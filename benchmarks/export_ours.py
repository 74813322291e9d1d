r"""Makes our .tflite files for export_latency.py.

    python -m benchmarks.export_ours --length=128 --folder=out/ours

The encoder has the weights of the Garden's that export_peers.py makes, to the
last bit.
"""

import os
import tempfile

import tensorflow as tf
import tf_keras
from absl import flags

from benchmarks import export_peers
from benchmarks import export_weights
from export import bases
from export import calibration
from export import conversion as tflite_conversion
from export import graph_heads
from export import inference_graph
from export import int8_simulator
from export import quantization
from export import weights as weights_lib
from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models

_VARIANTS = (quantization.FLOAT32, "dynamic", quantization.INT8)


def make_twin(
    garden: tf_keras.Model, config: config_lib.MobileBertConfig
) -> models.MobileBertForPreTraining:
    """Returns our model with the weights of the Garden's."""
    with tempfile.TemporaryDirectory() as folder:
        tf.train.Checkpoint(model=garden).save(os.path.join(folder, "ckpt"))
        config.to_json_file(os.path.join(folder, model_directory.CONFIG_FILE))
        return conversion.build_model(conversion.read(folder))


def make_files(length: int):
    """Yields name and content of our encoder in each variant, and of heads.

    Args:
        length: tokens of the input.
    """
    config = config_lib.mobilebert()
    garden = export_peers.make_garden(config)
    weights = make_twin(garden, config).encoder.get_weights()
    inputs = export_peers.make_inputs(
        config.vocab_size,
        export_peers.NUM_EXAMPLES,
        length,
        export_peers.CALIBRATION_SEED,
    )
    examples = list(calibration.single_rows(inputs))
    for name, model, variants in (
        ("ours", models.MobileBertModel(config), _VARIANTS),
        (
            "ours_classifier",
            models.MobileBertForSequenceClassification(config, num_labels=2),
            (quantization.INT8,),
        ),
        (
            "ours_questions",
            models.MobileBertForQuestionAnswering(config),
            (quantization.INT8,),
        ),
    ):
        model.build_weights()
        export_weights.randomize(model.variables)
        model.encoder.set_weights(weights)
        choice = bases.choose(
            int8_simulator.Simulator(
                config,
                weights_lib.from_encoder(model.encoder),
                graph_heads.from_model(model),
                inputs,
            )
        )
        float_model = tflite_conversion.convert(
            inference_graph.module_of(model, length, choice.bases)
        )
        ranges = calibration.collect_ranges(float_model, examples)
        for variant in variants:
            content = float_model
            if variant != quantization.FLOAT32:
                content = quantization.quantize(
                    float_model, quantization.load_recipe(variant), ranges
                )
            yield f"{name}_{variant}", content


def main(argv):
    del argv
    for name, content in make_files(flags.FLAGS.length):
        path = os.path.join(flags.FLAGS.folder, f"{name}.tflite")
        files.write_bytes(path, content)


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_integer("length", 128, "Tokens of the input.")
    flags.DEFINE_string("folder", None, "Where to write.", required=True)


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
