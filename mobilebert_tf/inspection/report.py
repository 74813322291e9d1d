"""A summary as JSON, for programs."""

import dataclasses
import json
import math

from mobilebert_tf import files
from mobilebert_tf.inspection import cost
from mobilebert_tf.inspection import inspector
from mobilebert_tf.inspection import ranges
from mobilebert_tf.inspection import structure


def write(summary: inspector.Summary, path: str) -> None:
    """Writes the summary as JSON, whole or not at all."""
    files.write_text(
        path, json.dumps(to_dict(summary), indent=2, allow_nan=False) + "\n"
    )


def to_dict(summary: inspector.Summary) -> dict:
    """Returns the whole summary; what is not finite is None."""
    source = summary.source
    return _without_nan(
        {
            "source": source.name,
            "head": source.head,
            "structure": structure.describe(source.config),
            "config": source.config.to_dict(),
            "accounting": source.accounting,
            "cost": _cost_to_dict(summary.cost),
            "weights": summary.weights
            and [dataclasses.asdict(part) for part in summary.weights],
            "pad_row": summary.pad_row and dataclasses.asdict(summary.pad_row),
            "texts": summary.on_texts and _texts_to_dict(summary.on_texts),
        }
    )


def place(values: ranges.Range, pieces: list[list[str]]) -> dict | None:
    """Returns where a tensor's largest value is; None if nothing is finite.

    Args:
        values: the range.
        pieces: tokens of each text.
    """
    if not values.row:
        return None
    text, position, *others = values.row
    found = {
        "text": text,
        "position": position,
        "token": pieces[text][position],
        "channel": values.channel,
    }
    if others:
        (key,) = others
        found |= {"key_position": key, "key_token": pieces[text][key]}
    return found


def _cost_to_dict(costs):
    totals = {
        "embeddings": costs.embeddings,
        "block": costs.block,
        "all_blocks": costs.all_blocks,
        "backbone": costs.backbone,
        "encoder": costs.backbone + costs.pooler,
        "network": costs.network,
    }
    return {
        "seq_length": costs.seq_length,
        "num_blocks": costs.num_blocks,
        "parts": {
            group: [_part_to_dict(part) for part in getattr(costs, group)]
            for group in ("embeddings", "block", "pooler", "heads")
        },
        "totals": {
            name: dataclasses.asdict(cost.total(parts))
            for name, parts in totals.items()
        },
        "largest_tensor": {
            "backbone": _tensor_to_dict(costs.backbone),
            "network": _tensor_to_dict(costs.network),
        },
    }


def _part_to_dict(part):
    return {
        "name": part.name,
        "shapes": part.shapes,
        "parameters": part.parameters,
        "macs": part.macs,
        "int8_bytes": part.int8_bytes,
    }


def _tensor_to_dict(parts):
    name, shape = cost.largest_tensor(parts)
    size = math.prod(shape)
    return {
        "part": name,
        "shape": shape,
        "parameters": size,
        "share": size / cost.total(parts).parameters,
    }


def _texts_to_dict(on_texts):
    return {
        "texts": [
            [text for text in (e.text_a, e.text_b) if text is not None]
            for e in on_texts.examples
        ],
        "tokens": on_texts.pieces,
        "activations": [
            {
                "name": activation.name,
                "block": activation.block,
                **_range_to_dict(activation.range, on_texts.pieces),
            }
            for activation in on_texts.activations
        ],
        "pad_effect": on_texts.pad_effect
        and dataclasses.asdict(on_texts.pad_effect),
    }


def _range_to_dict(values, pieces):
    return {
        "minimum": values.minimum,
        "maximum": values.maximum,
        "largest": values.largest,
        "place": place(values, pieces),
        "median": values.median,
        "quantile_999": values.quantile_999,
        "outlier_factor": values.outlier_factor,
        "int8_step": values.int8_step,
        "beyond_float16": values.beyond_float16,
        "beyond_int8": values.beyond_int8,
        "num_values": values.num_values,
        "num_not_finite": values.num_not_finite,
    }


def _without_nan(value):
    """JSON has neither NaN nor infinity."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
