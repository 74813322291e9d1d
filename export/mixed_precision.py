"""Parts of an int8 file that stay in float32, until it keeps its accuracy.

A part is the embeddings or a block. Those are kept first without which the
simulated int8 file errs least.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from export import file_cost
from export import folding
from export import int8_simulator
from export import model_file
from export import verification

EMBEDDINGS = "embeddings"


@dataclasses.dataclass(frozen=True)
class Step:
    """One file on the way to an accurate one.

    Attributes:
        parts: of the graph, kept in float32.
        gain_db: sum of what each gains alone in simulation.
        drops: points lost against Keras, by metric.
        cost: of an inference, or why it is not known.
    """

    parts: tuple[str, ...]
    gain_db: float
    drops: dict[str, float]
    cost: file_cost.FileCost | str


def rank(
    simulator: int8_simulator.Simulator,
    folded: folding.Encoder,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> dict[str, float]:
    """Returns what keeping each part in float32 gains, in dB, best first.

    Args:
        simulator: of the model.
        folded: the weights of its file.
        progress: called with how many of the parts are done.
    """
    parts = [EMBEDDINGS]
    parts += [folding.block_name(i) for i in range(len(folded.blocks))]
    base = simulator.sqnr_db(folded)
    gains = {}
    for done, part in enumerate(parts, 1):
        gains[part] = simulator.sqnr_db(folded, {part}) - base
        progress(done, len(parts))
    return dict(sorted(gains.items(), key=lambda item: -item[1]))


def with_float_parts(recipe: list[dict], parts: Sequence[str]) -> list[dict]:
    """Returns a recipe that leaves parts of the graph in float32.

    Args:
        recipe: what `quantization.load_recipe` returns.
        parts: of `rank`.
    """
    return [
        *recipe,
        *(
            {
                "regex": f"(^|;){part}/",
                "operation": "*",
                "algorithm_key": "no_quantize",
            }
            for part in parts
        ),
    ]


def count_kept(content: bytes, parts: Sequence[str]) -> dict[str, int]:
    """Counts the operators of a file that belong to parts, by name."""
    file = model_file.ModelFile(content)
    prefixes = tuple(f"{part}/" for part in parts)
    counts = {}
    for operator in file.operators:
        name = file.tensors[operator.outputs[0]].name
        if any(each.startswith(prefixes) for each in name.split(";")):
            counts[operator.name] = counts.get(operator.name, 0) + 1
    return counts


def keep_parts(
    gains: Mapping[str, float],
    verdict: verification.Verification,
    attempt: Callable[[Sequence[str]], verification.Verification],
    measure: Callable[[], file_cost.FileCost | str],
) -> tuple[verification.Verification, tuple[Step, ...]]:
    """Keeps more and more parts in float32 until the file is accurate.

    1, 2, 4, ... parts, to half of them: with more a file is int8 in name only.

    Args:
        gains: what `rank` returns.
        verdict: on the file with no part kept.
        attempt: writes a file with parts kept, and judges it.
        measure: what the file written last costs.

    Returns:
        The last verdict, and the steps, that of `verdict` first.
    """
    order = list(gains)
    steps = [Step((), 0.0, dict(verdict.drops), measure())]
    count = 1
    while not verdict.is_accurate and count <= max(1, len(order) // 2):
        parts = tuple(order[:count])
        verdict = attempt(parts)
        gain_db = sum(gains[part] for part in parts)
        steps.append(Step(parts, gain_db, dict(verdict.drops), measure()))
        count *= 2
    return verdict, tuple(steps)
