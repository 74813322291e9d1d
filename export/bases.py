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

Legend: N examples, S sequence.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from export import fake_quantization
from export import folding
from export import inference_graph
from export import numerics as numerics_lib
from export import weights as weights_lib
from mobilebert_tf.modeling import config as config_lib

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
_BATCH_SIZE = 8

Inputs = Mapping[str, np.ndarray]


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
    config: config_lib.MobileBertConfig,
    weights: weights_lib.Encoder,
    head,
    inputs: Inputs,
    progress: Callable[[str, float], None] = lambda name, sqnr_db: None,
) -> Choice:
    """Runs all candidates and returns the best.

    Args:
        config: of the model.
        weights: of its encoder.
        head: of graph_heads.
        inputs: calibration examples, int32 [N, S] by name.
        progress: called with the name and the SQNR of each candidate.

    Raises:
        ValueError: if an activation is not finite.
    """
    batches = list(_batches(inputs))
    length = inputs["input_mask"].shape[1]
    plain = folding.fold(config, weights, length)
    reference, activations = _run(config, plain, head, batches)
    bases, sqnr_db, num_factors = {}, {}, {}
    for name, each in _candidates(config, weights, plain, activations).items():
        folded = folding.fold(config, weights, length, each)
        outputs = _simulate(config, folded, head, batches)
        bases[name] = each
        sqnr_db[name] = _sqnr_db(reference, outputs)
        num_factors[name] = _num_factors(folded)
        progress(name, sqnr_db[name])
    best = max(sqnr_db.values())
    good = [name for name in bases if sqnr_db[name] >= best - _SAME_DB]
    name = min(good, key=lambda each: (num_factors[each], -sqnr_db[each]))
    return Choice(name, bases[name], sqnr_db, num_factors)


def _batches(inputs: Inputs) -> Iterator[dict[str, tf.Tensor]]:
    count = len(inputs["input_mask"])
    for begin in range(0, count, _BATCH_SIZE):
        yield {
            name: tf.constant(inputs[name][begin : begin + _BATCH_SIZE])
            for name in inference_graph.INPUT_NAMES
        }


@dataclasses.dataclass
class _Seen:
    """What was seen of an activation.

    Attributes:
        low, high: over all real positions.
        channels: float [width], the largest magnitudes; None of scores.
        is_symmetric: whether its zero point is 0.
    """

    low: float
    high: float
    channels: np.ndarray | None
    is_symmetric: bool


def _run(config, folded, head, batches, numerics=numerics_lib.Float):
    """Returns outputs and what was seen of each activation.

    Raises:
        ValueError: if an activation is not finite.
    """
    seen = {}
    outputs = []
    head = head.reading(folded.output_basis)
    for batch in batches:
        mode = numerics()
        length = batch["input_mask"].shape[1]
        encoder = inference_graph.EncoderGraph(
            config, folded, mode, length, is_batched=True
        )
        hidden = encoder(
            *(batch[name] for name in inference_graph.INPUT_NAMES),
            first_token_only=head.first_token_only,
        )
        real = tf.cast(batch["input_mask"], tf.float32)
        outputs.append(_read(head, hidden, mode, real, folded.output_basis))
        for name, each in mode.activations.items():
            _see(seen, name, each, real)
    return np.concatenate(outputs), seen


def _read(head, hidden, numerics, real, basis):
    """Returns what is compared, [rows, numbers], at real positions."""
    if hasattr(head, "logits"):
        logits = head.logits(hidden, numerics)
        values = np.concatenate(
            [
                each.numpy().reshape(-1, each.shape[-1])
                for each in logits.values()
            ],
            axis=-1,
        )
    else:
        values = hidden[-1].numpy()
        if basis is not None:
            values = values / basis
    is_real = real.numpy().reshape(-1) > 0
    return values[is_real] if len(values) == len(is_real) else values


def _see(seen, name, activation, real):
    low, high = activation.bounds(real).numpy()
    if not np.isfinite([low, high]).all():
        raise ValueError(
            f"calibration: activation {name!r} is not finite: expected a "
            "model whose float32 form works"
        )
    channels = None
    if not activation.is_scores:
        values = np.abs(activation.values.numpy())
        if activation.is_whole:
            values = values[real.numpy().reshape(-1) > 0]
        channels = values.max(axis=0)
    if name not in seen:
        seen[name] = _Seen(low, high, channels, activation.is_symmetric)
        return
    before = seen[name]
    before.low = min(before.low, low)
    before.high = max(before.high, high)
    if channels is not None:
        before.channels = np.maximum(before.channels, channels)


def _simulate(config, folded, head, batches):
    """Returns the outputs of the int8 file with these weights."""
    _, seen = _run(config, folded, head, batches)
    ranges = {}
    for name, each in seen.items():
        bounds = tf.constant(each.low), tf.constant(each.high)
        if each.is_symmetric:
            bounds = fake_quantization.symmetric(*bounds)
        ranges[name] = bounds
    outputs, _ = _run(
        config,
        folded,
        head,
        batches,
        lambda: numerics_lib.Int8(ranges.__getitem__),
    )
    return outputs


def _sqnr_db(reference, outputs):
    """Returns the median over columns, so that no outlier decides alone."""
    power = np.sum(np.square(reference, dtype=np.float64), axis=0)
    noise = np.sum(np.square(outputs - reference, dtype=np.float64), axis=0)
    tiny = np.finfo(np.float64).tiny
    return float(np.median(10.0 * np.log10((power + tiny) / (noise + tiny))))


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


def _candidates(config, weights, plain, seen):
    """Returns bases by name."""
    candidates = {PLAIN: folding.PLAIN}
    if config.normalization_type != "no_norm" or not config.use_bottleneck:
        return candidates
    for name, period in _PERIODS.items():
        given, carried = {}, set()
        blocks = list(zip(weights.blocks, plain.blocks, strict=True))
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
