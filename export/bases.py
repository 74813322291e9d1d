"""Which bases the tensors of an int8 file are stored in, by measured error.

int8 has one scale for a whole tensor, which the widest channel sets. A tensor
may be stored as x * basis (see `folding`), and the basis is free. Here it is
chosen to make channels alike in range without making the weights that read
them unlike: basis = w^(1-a) / r^a, where r is the largest value of a channel,
w the largest weight that reads it, and a the balance of both (the idea of
SmoothQuant, Xiao et al. 2023, applied where no operator is needed for it).

A residual stream goes through many sums. Where the basis of a sum is that of
its residual over gamma, the residual needs no multiplication, which is faster
and spares its rounding; but then one choice has to do for the whole stream,
and gammas multiply up. Candidates differ in how often a stream may choose
anew; each is run as its int8 file would compute, and the best of them is
taken. That of plain tensors is always among them: folding that hurts is never
applied. Near-zero gammas always begin a new choice.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from export import folding
from export import int8_simulator

PLAIN = "plain"
_BALANCE = 0.75
# Blocks after which the stream between blocks chooses anew; None: never.
_PERIODS = {"every block": 1, "every 4 blocks": 4, "never": None}
# Channels that calibration never sees, or that nothing reads, have no range of
# their own: at least this of the widest.
_LEAST_SHARE = 0.02
# A gamma below this share of the median begins a new choice.
_LEAST_GAMMA = 0.05
# Candidates as near to the best as this are as good; the fastest is taken.
_SAME_DB = 0.3


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen and why.

    Attributes:
        name: of the candidate.
        bases: of its tensors.
        sqnr_db: by candidate, of what the head reads or gives, simulated
            int8 against float32.
        num_factors: by candidate, multiplications left on residuals.
    """

    name: str
    bases: folding.Bases
    sqnr_db: dict[str, float]
    num_factors: dict[str, int]


def choose(
    simulator: int8_simulator.Simulator,
    progress: Callable[[str, float], None] = lambda name, sqnr_db: None,
) -> Choice:
    """Runs all candidates and returns the best.

    Args:
        simulator: of the model.
        progress: called with the name and the SQNR of each candidate.
    """
    bases, sqnr_db, num_factors = {}, {}, {}
    for name, each in _candidates(simulator).items():
        folded = simulator.fold(each)
        bases[name] = each
        sqnr_db[name] = simulator.sqnr_db(folded)
        num_factors[name] = _num_factors(folded)
        progress(name, sqnr_db[name])
    best = max(sqnr_db.values())
    good = [name for name in bases if sqnr_db[name] >= best - _SAME_DB]
    name = min(good, key=lambda each: (num_factors[each], -sqnr_db[each]))
    return Choice(name, bases[name], sqnr_db, num_factors)


def _num_factors(folded):
    return sum(
        join is not None and join.factor is not None
        for block in folded.blocks
        for join in (
            block.attention_output,
            *(join for _, join in block.feed_forward),
            block.output_bottleneck,
        )
    )


def _candidates(simulator):
    """Returns bases by name."""
    config, seen = simulator.config, simulator.seen
    candidates = {PLAIN: folding.PLAIN}
    if config.normalization_type != "no_norm" or not config.use_bottleneck:
        return candidates
    for name, period in _PERIODS.items():
        given, carried = {}, set()
        blocks = list(
            zip(simulator.weights.blocks, simulator.plain.blocks, strict=True)
        )
        _choose_stream(config, blocks, seen, period, given, carried)
        for i, (raw, folded) in enumerate(blocks):
            _choose_inner(
                folding.block_name(i), raw, folded, seen, given, carried
            )
        candidates[name] = folding.Bases(given, frozenset(carried))
    return candidates


def _choose_stream(config, blocks, seen, period, given, carried):
    """Chooses for the sums between the blocks."""
    names = folding.stream_names(config)
    readers = []
    for _, folded in blocks:
        layers = [folded.bottleneck]
        if not config.use_bottleneck_attention:
            layers.append(folded.value)
            if config.key_query_shared_bottleneck:
                layers.append(folded.key_query_bottleneck)
            else:
                layers += [folded.query, folded.key]
        readers.append(_reach(layers))
    # The head reads the last, all channels alike.
    readers.append(np.ones_like(readers[-1]))
    wanted = [
        _wanted(seen[name].channels, reader)
        for name, reader in zip(names, readers, strict=True)
    ]
    gammas = [raw.output_bottleneck_norm.gamma for raw, _ in blocks]
    begins = {i for i in range(len(names)) if period and i % period == 0}
    _choose_chain(names, wanted, gammas, begins, given, carried)


def _choose_inner(scope, raw, folded, seen, given, carried):
    """Chooses for the sums within a block."""
    names = [f"{scope}/{folding.ATTENTION_OUTPUT}"]
    readers = []
    for k, (intermediate, _) in enumerate(folded.feed_forward):
        names.append(f"{scope}/{folding.FEED_FORWARD_OUTPUT.format(k)}")
        readers.append(_reach([intermediate]))
    readers.append(_reach([folded.output_bottleneck.dense]))
    wanted = [
        _wanted(seen[name].channels, reader)
        for name, reader in zip(names, readers, strict=True)
    ]
    gammas = [network.norm.gamma for network in raw.feed_forward]
    _choose_chain(names, wanted, gammas, set(), given, carried)


def _reach(layers):
    """Returns the largest weight that reads each channel."""
    return np.max([np.abs(layer.kernel).max(axis=1) for layer in layers], 0)


def _wanted(channels, reader):
    """Returns the logarithm of the basis that is best for a tensor alone."""
    channels, reader = (
        np.log(np.maximum(each, _LEAST_SHARE * each.max() + 1e-30))
        for each in (channels, reader)
    )
    return (1.0 - _BALANCE) * reader - _BALANCE * channels


def _choose_chain(
    names: Sequence[str],
    wanted: Sequence[np.ndarray],
    gammas: Sequence[np.ndarray],
    begins: set[int],
    given: dict[str, np.ndarray],
    carried: set[str],
) -> None:
    """Chooses the bases of a residual stream.

    Args:
        names: of its tensors in order.
        wanted: logarithms of their best bases.
        gammas: of the norm after each sum, from one tensor to the next.
        begins: indices of tensors that choose anew.
        given: gets the bases of tensors that choose.
        carried: gets the names of the others.
    """
    begin = 0
    while begin < len(names):
        end, drift, drifts = begin + 1, 0.0, [0.0]
        while end < len(names) and end not in begins:
            gamma = np.abs(gammas[end - 1])
            if gamma.min() < _LEAST_GAMMA * np.median(gamma):
                break
            drift = drift + np.log(gamma)
            drifts.append(drift)
            end += 1
        best = np.mean(
            [w + d for w, d in zip(wanted[begin:end], drifts, strict=True)], 0
        )
        given[names[begin]] = np.exp(best - best.mean())
        carried.update(names[begin + 1 : end])
        begin = end
