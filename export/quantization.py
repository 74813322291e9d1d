"""Quantised .tflite files from a float32 one.

A quantised variant is a recipe file in configs/export, named as the variant:
a list of rules in ai-edge-quantizer's format, of which the last that matches
an operator's name and type decides. Its README.md decodes the names.
"""

import contextlib
import io
import json
import os
import re
import warnings
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import quantizer as aeq

from export import calibration
from export import flatbuffer_model
from export import float16_tables
from export import graph_heads
from export import model_file
from export import op_versions
from mobilebert_tf import files

FLOAT32 = "float32"
FLOAT16 = "float16"
DYNAMIC = "dynamic"
DYNAMIC_PER_TENSOR = "dynamic_per_tensor"
INT8 = "int8"
INT8_WEIGHTS = "int8_weights"
INT16X8 = "int16x8"
VARIANTS = (
    *(FLOAT32, FLOAT16, DYNAMIC, DYNAMIC_PER_TENSOR),
    *(INT8, INT8_WEIGHTS, INT16X8),
)
DEFAULT_VARIANTS = (FLOAT32, INT8)
# Number formats of the outputs.
OUTPUT_TYPES = (FLOAT32, "int8", "uint8")


def _recipe_dir():
    """Returns the checkout's recipes, in an installed wheel its copy."""
    package = os.path.dirname(os.path.abspath(__file__))
    checkout = os.path.join(os.path.dirname(package), "configs", "export")
    installed = os.path.join(package, "recipes")
    return installed if os.path.isdir(installed) else checkout


RECIPE_DIR = _recipe_dir()

_RULE_KEYS = ("regex", "operation", "algorithm_key")
# What a step of 1/256 reaches from 0: the format of a quantised softmax.
_PROBABILITY_RANGE = (0.0, 255 / 256)


def load_recipe(variant: str, recipe_dir: str = RECIPE_DIR) -> list[dict]:
    """Reads the rules of a quantised variant.

    Raises:
        ValueError: if there is no such recipe, or it is no list of rules.
    """
    path = os.path.join(recipe_dir, f"{variant}.json")
    files.require_file(path, "recipe")
    with open(path, encoding="utf-8") as stream:
        try:
            recipe = json.load(stream)
        except ValueError as error:
            raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(recipe, list):
        raise ValueError(
            f"{path}: expected a list of rules, got {type(recipe).__name__}"
        )
    for number, rule in enumerate(recipe, 1):
        for key in _RULE_KEYS:
            if not isinstance(rule, dict) or key not in rule:
                raise ValueError(f"{path}: rule {number}: expected a {key}")
    return recipe


def needs_ranges(recipe: Sequence[Mapping]) -> bool:
    """Returns whether a recipe quantises what only examples tell the range of.

    Embedding tables are constants: their rows have a range of their own.
    """
    return any(
        "activation_tensor_config" in rule.get("op_config", {})
        and rule["operation"] != "GATHER"
        for rule in recipe
    )


def quantize(
    float_model: bytes,
    recipe: Sequence[Mapping],
    ranges: Mapping[str, Mapping[str, np.ndarray]],
    output_type: str = FLOAT32,
) -> bytes:
    """Quantises a float32 .tflite by a recipe.

    Args:
        float_model: what `conversion.convert` returns.
        recipe: what `load_recipe` returns.
        ranges: what `calibration.collect_ranges` returns for `float_model`;
            {} will do if the recipe does not need them.
        output_type: of OUTPUT_TYPES, the number format of the outputs. Integer
            probabilities are multiples of 1/256; other outputs have the range
            found by calibration.

    Returns:
        The file's content, with the signature of `float_model`, operators
        stamped with the versions that they need, and all weights inside the
        FlatBuffer: a runtime that is too old for it refuses it.

    Raises:
        ValueError: if the quantiser refuses, or a weight is beyond float16.
    """
    tables = model_file.ModelFile(float_model).gathered_tables()
    bounds = {name: (each.min(), each.max()) for name, each in tables.items()}
    ranges = {**calibration.as_statistics(bounds), **ranges}
    if output_type != FLOAT32:
        bounds = _output_bounds(float_model, ranges)
        ranges |= calibration.as_statistics(bounds)
        recipe = [*recipe, _output_rule(output_type)]
    float16_tables.register()
    try:
        # It draws a progress bar for its last step whatever it is told, and
        # keeps all tensors of an interpreter that it only inspects. Weights
        # beyond float16 are told of below.
        with (
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
            np.errstate(over="ignore"),
        ):
            warnings.simplefilter("ignore", UserWarning)
            engine = aeq.Quantizer(bytearray(float_model), list(recipe))
            result = engine.quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
    except (
        *(ValueError, RuntimeError, TypeError, KeyError, AttributeError),
        re.error,
    ) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"quantization failed: {reason}") from error
    model = flatbuffer_model.read(bytes(result.quantized_model))
    _check_float16(model)
    op_versions.restamp(model)
    return flatbuffer_model.write(model)


def _output_rule(output_type):
    """Returns the rule that makes outputs integers."""
    number_format = {
        "num_bits": 8,
        "symmetric": False,
        "granularity": "TENSORWISE",
        "dtype": "UINT" if output_type == "uint8" else "INT",
    }
    weights = {**number_format, "symmetric": True, "dtype": "INT"}
    return {
        "regex": ".*",
        "operation": "OUTPUT",
        "algorithm_key": "min_max_uniform_quantize",
        "op_config": {
            "activation_tensor_config": number_format,
            # An output has none, but the quantiser wants to be told.
            "weight_tensor_config": weights,
            "compute_precision": "INTEGER",
            "explicit_dequantize": False,
            "skip_checks": False,
            "min_weight_elements": 0,
        },
    }


def _output_bounds(float_model, ranges):
    """Returns the range of each output by the name of its tensor."""
    model = flatbuffer_model.read(float_model)
    tensors = model.subgraphs[0].tensors
    bounds = {}
    for output in model.signatureDefs[0].outputs:
        name = tensors[output.tensorIndex].name.decode()
        if output.name.decode() == graph_heads.PROBABILITIES:
            bounds[name] = _PROBABILITY_RANGE
        elif name in ranges:
            bounds[name] = (
                ranges[name]["min"].item(),
                ranges[name]["max"].item(),
            )
        else:
            raise ValueError(
                f"output {output.name.decode()}: no range of it is known (not "
                "calibrated): expected output type float32"
            )
    return bounds


def _check_float16(model):
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.FLOAT16 and data is not None:
            if not np.isfinite(np.frombuffer(data, np.float16)).all():
                raise ValueError(
                    f"weights {tensor.name.decode()!r} are beyond "
                    f"{np.finfo(np.float16).max:.0f}, the largest float16"
                )
