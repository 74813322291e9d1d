"""Small files of every variant, packed as clients need them."""

import dataclasses
import io
import pathlib
import zipfile

import numpy as np
import small_models
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from export import calibration
from export import conversion
from export import flatbuffer_model
from export import inference_graph
from export import metadata
from export import quantization
from mobilebert_tf import tokenization
from mobilebert_tf.evaluation import litert_model
from mobilebert_tf.modeling import config as config_lib

LENGTH = 16
QUESTION_LENGTH = 384
LABELS = ("bad", "good")
WORDS = [f"word{i}" for i in range(35)]
VOCABULARY = [*tokenization.SPECIAL_TOKENS, *WORDS]
VARIANTS = quantization.VARIANTS

_NUM_CALIBRATION_EXAMPLES = 8


def config(length: int) -> config_lib.MobileBertConfig:
    """Returns a small network for sequences of this length."""
    return dataclasses.replace(
        small_models.CONFIGS["mobilebert"],
        vocab_size=len(VOCABULARY),
        max_position_embeddings=length,
    )


def classifier():
    """Returns a classifier that says each label of some of the texts."""
    model = small_models.make_classifier(config(LENGTH), len(LABELS))
    inputs = small_models.make_inputs(config(LENGTH), 64, LENGTH)
    inputs["input_type_ids"] *= 0
    # Surer than fresh weights are: what is near one half says little.
    kernel = model.classifier.dense.kernel
    kernel.assign(8 * kernel)
    logits = model(inputs)["logits"].numpy()
    bias = model.classifier.dense.bias
    bias.assign(bias + [np.median(logits[:, 1] - logits[:, 0]), 0.0])
    return model


def contents(model, length: int) -> dict[str, bytes]:
    """Returns the files of a model by variant, without metadata."""
    float_model = conversion.convert(inference_graph.module_of(model, length))
    examples = small_models.make_inputs(
        config(length), _NUM_CALIBRATION_EXAMPLES, length
    )
    ranges = calibration.collect_ranges(
        float_model, calibration.single_rows(examples)
    )
    result = {"float32": float_model}
    for name in VARIANTS[1:]:
        recipe = quantization.load_recipe(name)
        result[name] = quantization.quantize(float_model, recipe, ranges)
    int8 = quantization.load_recipe(quantization.INT8)
    for output_type in ("int8", "uint8"):
        result[f"{output_type}_output"] = quantization.quantize(
            float_model, int8, ranges, output_type
        )
    return result


def description(labels=(), **changes) -> metadata.Description:
    """Returns the description of a model of this module."""
    return metadata.Description("small", VOCABULARY, labels, **changes)


def write(path: pathlib.Path, content: bytes) -> str:
    """Writes a file; returns its path."""
    path.write_bytes(content)
    return str(path)


def run(
    path: str,
    tokens: list[list[list[int]]],
    length: int,
    vocabulary: list[str] = VOCABULARY,
) -> dict[str, np.ndarray]:
    """Runs a file in LiteRT, as the project evaluates files.

    Args:
        path: of a .tflite file.
        tokens: of each example its texts' ids: one text, or two.
        length: of the file; longer examples lose their end.
        vocabulary: of the file.

    Returns:
        {output: float32 [N, ...]}.
    """
    model = litert_model.LiteRtModel(path)
    cls_id, sep_id = map(vocabulary.index, ("[CLS]", "[SEP]"))
    results = {name: [] for name in model.output_shapes}
    for texts in tokens:
        ids, types = [cls_id], [0]
        for index, text in enumerate(texts):
            room = length - len(ids) - 1
            ids += [*text[:room], sep_id]
            types += [index] * (len(ids) - len(types))
        row = {
            "input_word_ids": ids,
            "input_mask": [1] * len(ids),
            "input_type_ids": types,
        }
        padded = {
            name: np.int32([values + [0] * (length - len(values))])
            for name, values in row.items()
        }
        for name, value in model.run(padded, list(results)).items():
            results[name].append(value)
    return {name: np.concatenate(rows) for name, rows in results.items()}


def length_of(path: str) -> int:
    """Returns the tokens that a file takes."""
    return litert_model.LiteRtModel(path).input_shapes["input_word_ids"][1]


def device_ids(texts: list[str], vocab_file: str) -> list[list[int]]:
    """Returns the ids that clients make of texts, without [CLS] and [SEP]."""
    tokenizer = tokenization.WordPieceTokenizer(vocab_file, mode="device")
    return tokenizer.tokenize(tf.constant(texts)).to_list()


def misstamp(path: str) -> bytes:
    """Returns a packed file whose FULLY_CONNECTEDs say version 5.

    As a quantiser that knows nothing of version 12 would write it.
    """
    packed = pathlib.Path(path).read_bytes()
    model = flatbuffer_model.read(packed)
    for code in model.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
            code.version = 5

    stream = io.BytesIO(flatbuffer_model.write(model))
    with zipfile.ZipFile(stream, "a") as archive:
        for name, data in metadata.read(packed)["files"].items():
            archive.writestr(name, data)
    return stream.getvalue()
