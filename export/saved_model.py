"""A SavedModel with serving signatures, for servers.

The Keras model itself, whatever the batch and the sequence length, with the
inputs and outputs of the .tflite files. A classifier gives its logits besides
its probabilities; of multiple choice all choices are given at once. Another
signature takes texts; to load it, a server needs the operators of
tensorflow-text (in Python `import tensorflow_text`).

Legend: B batch, C choices, S sequence.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator

import tensorflow as tf

from export import graph_heads
from export import inference_graph
from export import text_input
from mobilebert_tf.modeling import models


def write(model, folder: str, text: text_input.TextInput | None = None) -> None:
    """Writes a Keras model as a SavedModel, whole or not at all.

    Its signature is `serving_default`: int32 [B, S] `input_word_ids`,
    `input_mask` and `input_type_ids` (of multiple choice [B, C, S]) to the
    outputs that graph_heads.from_model names, B for 1 and C scores for one.
    With `text` there is `serving_text` too: string [B] `text`, of a pair also
    `text_pair`, to the same outputs.

    Args:
        model: a built model that graph_heads.from_model takes.
        folder: to write; what is there is replaced.
        text: how texts become features; for a model of one of
            text_input.HEADS.

    Raises:
        ValueError: for a model with the heads of pre-training.
    """
    names = graph_heads.from_model(model).output_names
    if graph_heads.PROBABILITIES in names:
        names = (*names, graph_heads.LOGITS)
    is_choice = isinstance(model, models.MobileBertForMultipleChoice)
    shape = [None] * (3 if is_choice else 2)

    def outputs_of(features):
        outputs = model(features, training=False)
        return {name: _output(name, outputs) for name in names}

    @tf.function(
        input_signature=[
            tf.TensorSpec(shape, tf.int32, name)
            for name in inference_graph.INPUT_NAMES
        ]
    )
    def serve(input_word_ids, input_mask, input_type_ids):
        return outputs_of(
            {
                "input_word_ids": input_word_ids,
                "input_mask": input_mask,
                "input_type_ids": input_type_ids,
            }
        )

    module = tf.Module(name="mobilebert")
    signatures = {inference_graph.SIGNATURE: serve}
    if text is not None:

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.string, name) for name in text.names
            ]
        )
        def serve_text(*texts):
            return outputs_of(text.features(texts))

        signatures[text_input.SIGNATURE] = serve_text
    module.functions = signatures
    # All that the signatures need; the model would add each layer's functions.
    module.weights = model.weights
    with _atomic_folder(folder) as temporary:
        tf.saved_model.save(module, temporary, signatures=signatures)


def _output(name, outputs):
    """Returns an output of the files from those of the Keras model."""
    if name == graph_heads.PROBABILITIES:
        return tf.nn.softmax(outputs["logits"])
    if name == graph_heads.VALUE:
        return outputs["logits"]
    return outputs[name]


@contextlib.contextmanager
def _atomic_folder(path: str) -> Iterator[str]:
    """Yields a temporary folder that replaces `path` if the block succeeds."""
    path = os.path.abspath(path)
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        os.makedirs(temporary)
        yield temporary
        if os.path.isdir(path):
            shutil.rmtree(path)
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
