"""What int8 costs a model, without making its file.

Runs the deployment graph in float32 to see the ranges of its activations, then
again as the int8 file will compute it (`numerics.Int8`), and compares.

Legend: N examples, S sequence.
"""

import dataclasses
from collections.abc import Collection
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from export import fake_quantization
from export import folding
from export import inference_graph
from export import numerics as numerics_lib
from export import weights as weights_lib
from mobilebert_tf.modeling import config as config_lib

_BATCH_SIZE = 8


@dataclasses.dataclass
class Seen:
    """What was seen of an activation at real positions.

    Attributes:
        low, high: the least and the largest value.
        channels: float [width], the largest magnitudes; None of scores.
        is_symmetric: whether its zero point is 0.
    """

    low: float
    high: float
    channels: np.ndarray | None
    is_symmetric: bool

    def add(self, other: "Seen") -> None:
        """Takes in what was seen in another batch."""
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        if self.channels is not None:
            self.channels = np.maximum(self.channels, other.channels)


class Simulator:
    """Simulates int8 files of one model.

    Args:
        config: of the model.
        weights: of its encoder.
        head: of graph_heads.
        inputs: calibration examples, int32 [N, S] by name.

    Attributes:
        config, weights: as given.
        plain: the folded weights without bases.
        seen: Seen by activation, of the float32 graph without bases.

    Raises:
        ValueError: if an activation is not finite.
    """

    def __init__(
        self,
        config: config_lib.MobileBertConfig,
        weights: weights_lib.Encoder,
        head,
        inputs: Mapping[str, np.ndarray],
    ):
        self.config = config
        self.weights = weights
        self._head = head
        self._float_names = inference_graph.float_activations(config, head)
        count, self._length = inputs["input_mask"].shape
        self._batches = [
            {
                name: tf.constant(inputs[name][begin : begin + _BATCH_SIZE])
                for name in inference_graph.INPUT_NAMES
            }
            for begin in range(0, count, _BATCH_SIZE)
        ]
        self.plain = self.fold(folding.PLAIN)
        self._reference, self.seen = self._run_float(self.plain)

    def fold(self, bases: folding.Bases) -> folding.Encoder:
        """Returns the weights of the deployment graph."""
        return folding.fold(self.config, self.weights, self._length, bases)

    def sqnr_db(
        self, folded: folding.Encoder, float_scopes: Collection[str] = ()
    ) -> float:
        """Returns the signal-to-noise ratio of the simulated int8 file.

        Of the logits or, of a head without, of the last hidden state; the
        median over its columns, so that no outlier decides alone.

        Args:
            folded: what `fold` returns.
            float_scopes: parts of the graph, such as "layer_3", that stay in
                float32.
        """
        _, seen = self._run_float(folded)
        ranges = {}
        for name, each in seen.items():
            bounds = tf.constant(each.low), tf.constant(each.high)
            if each.is_symmetric:
                bounds = fake_quantization.symmetric(*bounds)
            ranges[name] = bounds
        outputs = np.concatenate(
            [
                self._run(
                    folded,
                    batch,
                    numerics_lib.Int8(
                        ranges.__getitem__, self._float_names, float_scopes
                    ),
                )
                for batch in self._batches
            ]
        )
        reference = self._reference.astype(np.float64)
        power = np.sum(reference**2, axis=0)
        noise = np.sum((outputs - reference) ** 2, axis=0)
        tiny = np.finfo(np.float64).tiny
        ratios = (power + tiny) / (noise + tiny)
        return float(np.median(10.0 * np.log10(ratios)))

    def _run_float(self, folded):
        """Returns outputs, and Seen by activation."""
        outputs, seen = [], {}
        for batch in self._batches:
            numerics = numerics_lib.Float()
            outputs.append(self._run(folded, batch, numerics))
            real = tf.cast(batch["input_mask"], tf.float32)
            for name, activation in numerics.activations.items():
                each = _see(name, activation, real)
                if name in seen:
                    seen[name].add(each)
                else:
                    seen[name] = each
        return np.concatenate(outputs), seen

    def _run(self, folded, batch, numerics):
        """Returns what is compared at real positions, [rows, numbers]."""
        encoder = inference_graph.EncoderGraph(
            self.config, folded, numerics, self._length, is_batched=True
        )
        head = self._head.reading(folded.output_basis)
        hidden = encoder(
            *(batch[name] for name in inference_graph.INPUT_NAMES),
            first_token_only=head.first_token_only,
        )
        if hasattr(head, "logits"):
            logits = head.logits(hidden, numerics).values()
            values = np.concatenate(
                [each.numpy().reshape(-1, each.shape[-1]) for each in logits],
                axis=-1,
            )
        else:
            values = hidden[-1].numpy()
            if folded.output_basis is not None:
                values = values / folded.output_basis
        is_real = batch["input_mask"].numpy().reshape(-1) == 1
        return values[is_real] if len(values) == len(is_real) else values


def _see(name, activation, real):
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
    return Seen(low, high, channels, activation.is_symmetric)
