"""Quantised .tflite files from a float32 one.

A quantised variant is a recipe file in configs/export, named as the variant:
a list of rules in ai-edge-quantizer's format, of which the last that matches
an operator's name and type decides.
"""

import contextlib
import io
import json
import os
import warnings

from ai_edge_quantizer import quantizer as aeq

from mobilebert_tf import files

FLOAT32 = "float32"
INT8 = "int8"
VARIANTS = (FLOAT32, INT8)

# Beside the package, as every other config: recipes are meant to be read and
# edited in the checkout, from which (or from an editable installation) the
# exporter runs.
RECIPE_DIR = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    "configs",
    "export",
)


def load_recipe(variant: str, recipe_dir: str = RECIPE_DIR) -> list[dict]:
    """Reads the rules of a quantised variant.

    Raises:
        ValueError: if there is no such recipe, or it is no JSON list.
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
    return recipe


def quantize(float_model: bytes, recipe: list[dict], ranges: dict) -> bytes:
    """Quantises a float32 .tflite by a recipe.

    Args:
        float_model: what `conversion.convert` returns.
        recipe: what `load_recipe` returns.
        ranges: what `calibration.collect_ranges` returns for `float_model`.

    Returns:
        The file's content, with the signature of `float_model`.

    Raises:
        ValueError: if the quantiser refuses.
    """
    try:
        # It draws a progress bar for its last step whatever it is told, and
        # keeps all tensors of an interpreter that it only inspects.
        with (
            contextlib.redirect_stderr(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", UserWarning)
            engine = aeq.Quantizer(bytearray(float_model), recipe)
            result = engine.quantize(
                ranges, enable_progress_bar=False, enable_progress_report=False
            )
    except (RuntimeError, TypeError, KeyError) as error:
        raise ValueError(f"quantization failed: {error}") from error
    return bytes(result.quantized_model)
