r"""Signal-to-noise ratio of the final hidden state of .tflite files.

    python -m benchmarks.export_errors --length=128 --models=ours_int8.tflite

The reference is the Model Garden's Keras encoder in float32, whose weights the
files of export_peers.py have. Prints one line of JSON: {file: {"full",
"padded": dB}}, at real positions, on inputs that no file was calibrated on.
"""

import json
import os

import numpy as np
from absl import flags
from ai_edge_litert import interpreter as litert

from benchmarks import export_bars
from benchmarks import export_peers
from export import calibration
from export import graph_heads
from mobilebert_tf import cli
from mobilebert_tf.modeling import config as config_lib

_SEED = 2  # Not that of calibration.
_NUM_EXAMPLES = 8


def hidden_states(path: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Returns float32 [N, S, H] of a file on int32 inputs [N, S]."""
    runner = litert.Interpreter(model_path=path).get_signature_runner()
    return np.concatenate(
        [
            runner(**row)[graph_heads.SEQUENCE_OUTPUT]
            for row in calibration.single_rows(inputs)
        ]
    )


def main(argv):
    del argv
    paths = flags.FLAGS.models
    config = config_lib.mobilebert()
    encoder = export_peers.make_garden(config).encoder_network
    errors = {path: {} for path in paths}
    for name, is_padded in (("full", False), ("padded", True)):
        inputs = export_peers.make_inputs(
            config.vocab_size,
            _NUM_EXAMPLES,
            flags.FLAGS.length,
            _SEED,
            is_padded,
        )
        is_real = inputs["input_mask"] == 1
        reference = encoder(inputs)["sequence_output"].numpy()[is_real]
        for path in paths:
            errors[path][name] = export_bars.sqnr_db(
                reference, hidden_states(path, inputs)[is_real]
            )
    named = {os.path.basename(path): errors[path] for path in paths}
    print(json.dumps(named))


# Not at import: benchmarks share names of flags.
def _define_flags():
    flags.DEFINE_list("models", None, "The .tflite files.", required=True)
    flags.DEFINE_integer("length", 128, "Tokens of the input.")


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
