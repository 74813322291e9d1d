"""The tokenizer inside an exported model: texts in instead of features.

A SavedModel tokenizes as training did, with the ops of tokenization.py. Of
them TensorFlow Lite has FastBertTokenizer only, as custom operators of
tensorflow-text: a text-in .tflite runs where these are registered (see
`load_interpreter`), not in MediaPipe's or Task Library's clients. On most
texts it gives BERT's ids. An uncased one differs, at 3 % of Unicode's
characters, in that it folds case and compatibility (NFKC):

- a sharp s becomes "ss", the ellipsis three dots; ligatures, superscripts,
  circled and full-width characters become the plain ones;
- control characters become white space rather than nothing;
- words of more than 200 bytes, not characters, are unknown.

Legend: B batch, S sequence, T tokens.
"""

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text
from ai_edge_litert import interpreter as litert
from ai_edge_litert.tools import flatbuffer_utils
from tensorflow_text.core.pybinds import tflite_registrar

from export import inference_graph
from export import quantization
from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf import wordpiece

SIGNATURE = "serving_text"
# Heads of which a text, or two, is all that an app has to give.
HEADS = (
    model_directory.SEQUENCE_CLASSIFICATION,
    model_directory.SENTENCE_EMBEDDING,
)
_NAMES = ("text", "text_pair")
# Text-in .tflite variants, by the one that the tokenizer is put in front of.
VARIANTS = {"text": quantization.FLOAT32, "text_int8": quantization.INT8}


@dataclasses.dataclass(frozen=True)
class TextInput:
    """What makes features of texts.

    Attributes:
        tokenizer: of the training.
        max_seq_length: S.
        is_pair: whether there are two texts.

    Raises:
        ValueError: if max_seq_length has no room for a token of each text.
    """

    tokenizer: tokenization.WordPieceTokenizer
    max_seq_length: int
    is_pair: bool = False

    def __post_init__(self):
        least = 1 + 2 * len(self.names)
        if self.max_seq_length < least:
            raise ValueError(
                f"max_seq_length: got {self.max_seq_length}, expected at "
                f"least {least}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the texts, in order."""
        return _NAMES if self.is_pair else _NAMES[:1]

    def features(self, texts: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Returns int32 [B, S] by input name, as data.glue.features does.

        Args:
            texts: string [B] each, as many as there are names.
        """
        return self.encode([self.tokenizer.tokenize(text) for text in texts])

    def encode(
        self, segments: Sequence[tf.RaggedTensor]
    ) -> dict[str, tf.Tensor]:
        """Returns features int32 [B, S] of the tokens of texts.

        [CLS] a [SEP] (b [SEP]); too long a pair loses tokens from the end of
        the longer text, b if they are equal.

        Args:
            segments: int32 [B, (T)] per text.
        """
        splits = [tf.cast(each.row_splits, tf.int32) for each in segments]
        lengths = [split[1:] - split[:-1] for split in splits]
        room = self.max_seq_length - 1 - len(segments)
        position = tf.range(self.max_seq_length)[tf.newaxis]  # [1, S]
        ids = tf.where(
            position == 0, self.tokenizer.cls_id, self.tokenizer.pad_id
        )
        types = tf.zeros_like(position)
        start = tf.ones_like(lengths[0])[:, tf.newaxis]  # [B, 1]
        for index, kept in enumerate(_kept(lengths, room)):
            end = start + kept[:, tf.newaxis]  # [B, 1], of the [SEP]
            inside = (position >= start) & (position < end)
            source = splits[index][:-1, tf.newaxis] + position - start
            # One more, for texts without tokens.
            tokens = tf.pad(segments[index].flat_values, [[0, 1]])
            tokens = tf.gather(tokens, tf.where(inside, source, 0))
            ids = tf.where(inside, tokens, ids)
            ids = tf.where(position == end, self.tokenizer.sep_id, ids)
            types = tf.where(
                (position >= start) & (position <= end), index, types
            )
            start = end + 1
        mask = tf.cast(position < start, tf.int32)
        return dict(
            zip(inference_graph.INPUT_NAMES, (ids, mask, types), strict=True)
        )


def add_tokenizer(model: bytes, text: TextInput) -> bytes:
    """Puts FastBertTokenizer in front of a .tflite file, of any precision.

    Args:
        model: a .tflite of batch 1 with the signature of inference_graph.
        text: what makes its features.

    Returns:
        A .tflite with string [1] inputs `text` and, of a pair, `text_pair`,
        and the outputs of `model`, in the same signature.

    Raises:
        ValueError: for a vocabulary with repeated or empty lines, or if the
            converter fails.
    """
    front = _read(_convert_tokenizer(text))
    back = _read(model)
    (front_signature,) = front.signatureDefs
    (back_signature,) = back.signatureDefs
    codes = len(front.operatorCodes)
    buffers = len(front.buffers)
    front.operatorCodes += back.operatorCodes
    front.buffers += back.buffers
    graph, added = front.subgraphs[0], back.subgraphs[0]
    # The features are the tokenizer's outputs and the model's inputs.
    made = {each.name: each.tensorIndex for each in front_signature.outputs}
    places = {
        each.tensorIndex: made[each.name] for each in back_signature.inputs
    }
    for index, tensor in enumerate(added.tensors):
        if index in places:
            continue
        places[index] = len(graph.tensors)
        tensor.buffer += buffers
        graph.tensors.append(tensor)
    places[-1] = -1  # of inputs left out
    for operator in added.operators:
        operator.opcodeIndex += codes
        operator.inputs = _moved(operator.inputs, places)
        operator.outputs = _moved(operator.outputs, places)
        graph.operators.append(operator)
    graph.outputs = _moved(added.outputs, places)
    outputs = []
    for each in back_signature.outputs:
        output = copy.copy(each)
        output.tensorIndex = places[each.tensorIndex]
        outputs.append(output)
    front_signature.outputs = outputs
    return bytes(flatbuffer_utils.convert_object_to_bytearray(front))


def load_interpreter(
    content: bytes, num_threads: int = 1
) -> litert.InterpreterWithCustomOps:
    """Loads a text-in .tflite with the operators of tensorflow-text."""
    return litert.InterpreterWithCustomOps(
        custom_op_registerers=tflite_registrar.SELECT_TFTEXT_OPS,
        model_content=content,
        num_threads=num_threads,
    )


def fast_tokenizer(
    tokenizer: tokenization.WordPieceTokenizer,
) -> tensorflow_text.FastBertTokenizer:
    """Returns the tokenizer of text-in .tflite files.

    Raises:
        ValueError: for a vocabulary with repeated or empty lines.
    """
    vocabulary = tokenizer.vocabulary
    if len(tokenizer.ids) != len(vocabulary):
        raise ValueError(
            "text input: expected a vocabulary without repeated or empty "
            f"lines, got {len(tokenizer.ids)} tokens on {len(vocabulary)} lines"
        )
    return tensorflow_text.FastBertTokenizer(
        vocabulary,
        suffix_indicator=wordpiece.SUFFIX_INDICATOR,
        max_bytes_per_word=wordpiece.MAX_CHARACTERS_PER_WORD,
        token_out_type=tf.int32,
        unknown_token=wordpiece.UNK,
        lower_case_nfd_strip_accents=tokenizer.lower_case,
    )


def _convert_tokenizer(text):
    tokenizer = fast_tokenizer(text.tokenizer)
    module = tf.Module(name="tokenizer")
    module.tokenizer = tokenizer

    @tf.function(
        input_signature=[
            tf.TensorSpec([1], tf.string, name) for name in text.names
        ]
    )
    def serve(*texts):
        features = text.encode([tokenizer.tokenize(each) for each in texts])
        return {
            name: tf.reshape(ids, [1, text.max_seq_length])
            for name, ids in features.items()
        }

    module.serve = serve
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], module
    )
    converter.allow_custom_ops = True
    try:
        return converter.convert()
    except Exception as error:
        # The converter raises classes of its own, some plain Exceptions.
        raise ValueError(f"conversion failed: {error}") from error


def _read(content):
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for buffer in model.buffers:
        if buffer.data is not None:
            # Each byte of a bytearray would be packed by Python.
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    return model


def _moved(indices, places):
    return np.array([places[int(index)] for index in indices], np.int32)


def _kept(lengths, room):
    """Returns how many tokens are kept of each text, int32 [B] each."""
    if len(lengths) == 1:
        return [tf.minimum(lengths[0], room)]
    a, b = lengths
    a_kept = tf.maximum((room + 1) // 2, room - b)
    b_kept = tf.maximum(room // 2, room - a)
    # Of texts that fit together neither limit is below the length.
    return [tf.minimum(a, a_kept), tf.minimum(b, b_kept)]
