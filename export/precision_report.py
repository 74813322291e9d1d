"""What a report tells of bases and of parts kept in float32."""

from collections.abc import Mapping

from export import bases as bases_lib
from export import file_cost
from export import mixed_precision

Table = tuple[str, list[str], list[list[str]]]


def bases_to_dict(choice: bases_lib.Choice) -> dict:
    """Returns a choice of bases for report.json."""
    return {
        "chosen": choice.name,
        "candidates": {
            name: {
                "sqnr_db": sqnr_db,
                "residual_factors": choice.num_factors[name],
            }
            for name, sqnr_db in choice.sqnr_db.items()
        },
    }


def bases_table(choice: bases_lib.Choice) -> Table:
    """Returns caption, header and rows of the candidates."""
    rows = [
        [
            name,
            f"{sqnr_db:.1f}",
            str(choice.num_factors[name]),
            "chosen" if name == choice.name else "",
        ]
        for name, sqnr_db in choice.sqnr_db.items()
    ]
    return (
        "Bases in which int8 tensors are stored: how often the stream between "
        "blocks chooses anew; simulated on calibration examples",
        ["chosen anew", "SQNR dB", "multiplications left", ""],
        rows,
    )


def step_to_dict(step: mixed_precision.Step) -> dict:
    """Returns a step for report.json."""
    return {
        "float_parts": list(step.parts),
        "simulated_gain_db": step.gain_db,
        "drops_in_points": step.drops,
        "min_ms": _min_ms(step),
    }


def step_rows(
    steps: tuple[mixed_precision.Step, ...], points: Mapping[str, float]
) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows of the files that were tried.

    Args:
        steps: in order.
        points: by the metrics judged by.
    """
    header = ["parts in float32"]
    header += [f"{name} drop, points" for name in points]
    header += ["min ms", "against int8"]
    first = _min_ms(steps[0])
    rows = []
    for step in steps:
        ms = _min_ms(step)
        rows.append(
            [
                ", ".join(step.parts) or "none",
                *(f"{step.drops[name]:+.2f}" for name in points),
                "" if ms is None else f"{ms:.2f}",
                f"{ms / first:.3f}" if ms and first else "",
            ]
        )
    return header, rows


def _min_ms(step):
    if isinstance(step.cost, file_cost.FileCost):
        return step.cost.min_ms
    return None
