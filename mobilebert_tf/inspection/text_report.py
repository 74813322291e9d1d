"""A summary as tables, for people."""

import math

from mobilebert_tf import text_table
from mobilebert_tf.inspection import activations
from mobilebert_tf.inspection import cost
from mobilebert_tf.inspection import inspector
from mobilebert_tf.inspection import report
from mobilebert_tf.inspection import structure

_MAX_ALARMS = 4
_COLUMNS = (
    "min",
    "max",
    "largest at",
    "channel",
    "median",
    "99.9 %",
    "largest/median",
    "beyond",
)
_LEGEND = (
    "Largest at: token text:position; of scores, query > key, and the head as "
    "channel.",
    "Median and 99.9 %: of absolute values other than zero. Inside blocks: "
    "min, max and",
    "beyond are of all blocks, the rest is of the block that has the largest.",
    "Beyond float16: above 65504. Beyond int8: with 256 levels for the whole "
    "tensor",
    "the median value rounds to zero.",
)


def lines(summary: inspector.Summary) -> list[str]:
    """Returns the lines to print: costs, then weights, then texts."""
    source = summary.source
    printed = [f"{source.name}, head: {source.head}"]
    printed += [
        f"  {topic}: {text}"
        for topic, text in structure.describe(source.config).items()
    ]
    printed += [f"  {line}" for line in source.accounting]
    printed += ["", *_cost(summary.cost)]
    if summary.weights is not None:
        printed += ["", *_weights(summary.weights)]
    if summary.pad_row is not None:
        printed += ["", *_padding(summary)]
    if summary.on_texts is not None:
        printed += ["", *_activations(summary.on_texts)]
    return printed


def _cost(costs):
    network = cost.total(costs.network)
    rows = [
        [
            "part",
            "parameters",
            "share",
            f"MACs at {costs.seq_length}",
            "share",
        ]
    ]

    def add(name, parts):
        sums = cost.total(parts)
        rows.append(
            [
                name,
                f"{sums.parameters:,}",
                f"{sums.parameters / network.parameters:.1%}",
                f"{sums.macs:,}",
                f"{sums.macs / network.macs:.1%}",
            ]
        )

    add("embeddings", costs.embeddings)
    for part in costs.embeddings:
        add(f"  {part.name}", [part])
    add("one block", costs.block)
    for part in costs.block:
        add(f"  {part.name}", [part])
    add(f"all {costs.num_blocks} blocks", costs.all_blocks)
    add("embeddings and blocks", costs.backbone)
    for part in costs.pooler:
        add(part.name, [part])
    for part in costs.heads:
        add(f"head {part.name}", [part])
    add("everything", costs.network)
    yield from text_table.lines(rows)
    yield ""
    yield from text_table.lines(list(_sizes(costs)))
    for name, parts in _extents(costs):
        part, shape = cost.largest_tensor(parts)
        size = math.prod(shape)
        share = size / cost.total(parts).parameters
        yield (
            f"largest tensor of {name}: {part} {list(shape)}, {size:,} "
            f"({share:.1%})"
        )


def _extents(costs):
    yield "embeddings and blocks", costs.backbone
    if costs.pooler or costs.heads:
        yield "everything", costs.network


def _sizes(costs):
    yield ["", "GMACs", "GFLOPs (2 x MACs)", "float32 MB", "int8 weights MB"]
    for name, parts in _extents(costs):
        sums = cost.total(parts)
        yield [
            name,
            f"{sums.macs / 1e9:.3f}",
            f"{2 * sums.macs / 1e9:.2f}",
            f"{sums.float32_bytes / 1e6:.2f}",
            f"{sums.int8_bytes / 1e6:.2f}",
        ]


def _weights(parts):
    """One row per part; those of the blocks together."""
    groups = {}
    for part in parts:
        name = part.name if part.block is None else f"blocks: {part.name}"
        groups.setdefault(name, []).append(part)
    rows = [["weights", "min", "max", "largest is in"]]
    for name, group in groups.items():
        known = [part for part in group if math.isfinite(part.largest)]
        peak = max(known, key=lambda part: part.largest, default=None)
        rows.append(
            [
                name,
                _number(min((p.minimum for p in known), default=math.nan)),
                _number(max((p.maximum for p in known), default=math.nan)),
                peak.tensor if peak else "",
            ]
        )
    yield from text_table.lines(rows)
    bad = [
        f"{_full_name(part)}: {part.num_nan:,} NaN, {part.num_infinite:,} "
        f"infinite of {part.parameters:,} weights"
        for part in parts
        if part.num_nan or part.num_infinite
    ]
    yield from _alarm(bad) if bad else ["all weights are finite"]


def _padding(summary):
    row = summary.pad_row
    yield (
        f"[PAD] row {row.pad_id}: norm {row.norm:.4g}, median of all rows "
        f"{row.median_norm:.4g}"
    )
    yield row.verdict
    if summary.on_texts is None:
        return
    effect = summary.on_texts.pad_effect
    if effect is None:
        yield "measured: nothing, every text fills the sequence"
        return
    token = summary.on_texts.pieces[effect.text][effect.position]
    yield (
        f"measured on {effect.num_texts} texts, alone and padded to "
        f"{summary.cost.seq_length}: largest relative difference "
        f"{effect.embeddings:.2g} of the embeddings; of the last output "
        f"{effect.first_token:.2g} at [CLS], {effect.output:.2g} anywhere "
        f"({token} {effect.text}:{effect.position})"
    )


def _activations(on_texts):
    num_tokens = sum(map(len, on_texts.pieces))
    yield (
        f"activations on {len(on_texts.examples)} texts, {num_tokens:,} tokens"
    )
    between, inside = [], {}
    for activation in on_texts.activations:
        if activation.name == activations.EMBEDDINGS:
            between.append([activation.name, activation])
        elif activation.name == activations.BLOCK_OUTPUT:
            between.append([f"block {activation.block}", activation])
        else:
            inside.setdefault(activation.name, []).append(activation)
    rows = [["between blocks", *_COLUMNS]]
    for name, activation in between:
        rows.append([name, *_range_cells([activation], on_texts.pieces)])
    yield from text_table.lines(rows)
    yield ""
    rows = [["inside blocks", *_COLUMNS, "in block"]]
    for name, group in inside.items():
        peak = _peak(group)
        rows.append(
            [
                name,
                *_range_cells(group, on_texts.pieces),
                "" if peak is None else str(peak.block),
            ]
        )
    yield from text_table.lines(rows)
    yield from _LEGEND
    yield from _alarm(
        [
            f"{_full_name(activation)}: {activation.range.num_not_finite:,} "
            f"of {activation.range.num_values:,} values"
            for activation in on_texts.activations
            if activation.range.num_not_finite
        ]
    )


def _range_cells(group, pieces):
    """Cells of one or several tensors; the place is that of the largest."""
    peak = _peak(group)
    if peak is None:
        return [""] * (len(_COLUMNS) - 1) + ["not finite"]
    known = [a.range for a in group if a.range.row]
    found = report.place(peak.range, pieces)
    place = f"{found['token']} {found['text']}:{found['position']}"
    if "key_token" in found:
        place += f" > {found['key_token']} {found['key_position']}"
    beyond = {
        "float16": any(values.beyond_float16 for values in known),
        "int8": any(values.beyond_int8 for values in known),
        "not finite": any(a.range.num_not_finite for a in group),
    }
    return [
        _number(min(values.minimum for values in known)),
        _number(max(values.maximum for values in known)),
        place,
        str(found["channel"]),
        _number(peak.range.median),
        _number(peak.range.quantile_999),
        f"{peak.range.outlier_factor:.1f}",
        ", ".join(name for name, is_beyond in beyond.items() if is_beyond),
    ]


def _peak(group):
    known = [activation for activation in group if activation.range.row]
    return max(known, key=lambda a: a.range.largest, default=None)


def _alarm(what):
    """The first of many: what follows them is no better."""
    for name in what[:_MAX_ALARMS]:
        yield f"NOT FINITE: {name}"
    if len(what) > _MAX_ALARMS:
        yield f"NOT FINITE: {len(what) - _MAX_ALARMS} more"


def _full_name(measured):
    if measured.block is None:
        return measured.name
    return f"block {measured.block} {measured.name}"


def _number(value):
    return f"{value:.4g}"
