"""A checkpoint in memory, whatever format it came from."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mobilebert_tf import model_directory
from mobilebert_tf.modeling import config as config_lib

# Longer lists of names are shown as their number; the JSON report has them.
_MAX_NAMES_SHOWN = 8


def summarise(names: Sequence[str]) -> str:
    """Returns the number of names, and the names if they are few."""
    if len(names) > _MAX_NAMES_SHOWN:
        return str(len(names))
    return f"{len(names)}: {', '.join(names)}"


@dataclasses.dataclass(frozen=True)
class Accounting:
    """What became of every variable.

    Attributes:
        loaded: canonical names of the weights found in the source.
        initialised: canonical names of the weights that the source lacks, of
            a head (or its pooler) that was asked for: drawn at random.
        ignored: dict from a kind to the source's names of that kind.
        not_carried: canonical names of what the target format cannot hold.
        added: the target's names of what its network has and ours lacks.
        notes: sentences on what a user should know.
    """

    loaded: tuple[str, ...] = ()
    initialised: tuple[str, ...] = ()
    ignored: dict[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )
    not_carried: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict:
        """Returns everything, for JSON."""
        return dataclasses.asdict(self)

    def __str__(self):
        """Returns a summary: one line per kind, names only when few."""
        lines = [f"loaded: {len(self.loaded)} weights"]
        for title, names in (
            ("initialised", self.initialised),
            *((f"ignored, {kind}", names) for kind, names in self._kinds()),
            ("not carried", self.not_carried),
            ("added", self.added),
        ):
            if names:
                lines.append(f"{title}: {summarise(names)}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _kinds(self):
        return sorted(self.ignored.items())


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Weights with all that is needed to use them.

    Attributes:
        config: the network.
        info: head, labels and use, as a model folder records them.
        values: dict from the TF1 name of each weight to its float32 value, in
            the TF1 shape (see names.list_weights).
        vocabulary: content of vocab.txt, None if unknown.
        accounting: where the weights came from.
    """

    config: config_lib.MobileBertConfig
    info: model_directory.ModelInfo
    values: dict[str, np.ndarray]
    vocabulary: bytes | None = None
    accounting: Accounting = Accounting()

    @property
    def head(self) -> str:
        """One of model_directory.HEADS."""
        return self.info.head

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names, in the order of the logits."""
        return self.info.labels

    @property
    def lower_case(self) -> bool:
        """Whether the tokenizer lower-cases."""
        return self.info.lower_case


@dataclasses.dataclass(frozen=True)
class Written:
    """What a writer has to tell.

    Attributes:
        added: see Accounting.
        notes: see Accounting.
    """

    added: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
