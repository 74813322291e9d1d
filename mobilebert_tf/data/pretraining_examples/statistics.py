"""Counts over pre-training instances, and the table printed of them."""

import collections
from collections.abc import Mapping

import numpy as np

# [CLS], [SEP], [SEP].
_SPECIAL_TOKENS_PER_PAIR = 3


class Statistics:
    """Counts over the instances written."""

    def __init__(self, counts: Mapping[str, int] | None = None):
        """Starts from `counts`, as returned by `counts()` earlier."""
        self._counts = collections.Counter(counts or {})

    @property
    def instances(self) -> int:
        return self._counts["instances"]

    def counts(self) -> dict[str, int]:
        """Returns all counts by name."""
        return dict(self._counts)

    def update(self, other: "Statistics") -> None:
        """Adds the counts of `other`."""
        self._counts.update(other.counts())

    def add(self, assembled: dict, batch: dict, tokenizer) -> None:
        """Counts a block of instances.

        Args:
            assembled: before masking.
            batch: after masking, or the same.
            tokenizer: names the special tokens.
        """
        lengths = batch["input_mask"].sum(axis=1)
        self._counts.update(
            instances=len(lengths),
            tokens=int(lengths.sum()),
            full=int((lengths == batch["input_mask"].shape[1]).sum()),
            random_next=int(batch["next_sentence_labels"].sum()),
            unknown=int((assembled["input_ids"] == tokenizer.unk_id).sum()),
        )
        if "masked_lm_weights" not in batch:
            return
        weights = batch["masked_lm_weights"] > 0
        inputs = np.take_along_axis(
            batch["input_ids"], batch["masked_lm_positions"], axis=1
        )[weights]
        targets = batch["masked_lm_ids"][weights]
        is_mask = inputs == tokenizer.mask_id
        is_same = inputs == targets
        self._counts.update(
            masked_instances=len(lengths),
            predictions=len(targets),
            masked=int(is_mask.sum()),
            kept=int((is_same & ~is_mask).sum()),
        )

    def table(self) -> list[tuple[str, str]]:
        """Returns (name, value) rows to print."""
        counts = self._counts
        instances = max(1, counts["instances"])
        pieces = counts["tokens"] - _SPECIAL_TOKENS_PER_PAIR * instances
        mean_length = counts["tokens"] / instances
        return [
            ("instances", f"{counts['instances']:,}"),
            ("mean length", f"{mean_length:.2f}"),
            ("of full length", f"{counts['full'] / instances:.2%}"),
            *(self._masking_rows() if counts["masked_instances"] else []),
            ("random next", f"{counts['random_next'] / instances:.2%}"),
            ("[UNK] tokens", f"{counts['unknown'] / max(1, pieces):.2%}"),
        ]

    def _masking_rows(self):
        counts = self._counts
        instances, predictions = counts["instances"], counts["predictions"]
        pieces = counts["tokens"] - _SPECIAL_TOKENS_PER_PAIR * instances
        replaced = predictions - counts["masked"] - counts["kept"]
        # With whole words, none may fit.
        shared = max(1, predictions)
        return [
            ("predictions per instance", f"{predictions / instances:.2f}"),
            ("predicted tokens", f"{predictions / pieces:.2%}"),
            ("  replaced by [MASK]", f"{counts['masked'] / shared:.2%}"),
            ("  kept", f"{counts['kept'] / shared:.2%}"),
            ("  replaced at random", f"{replaced / shared:.2%}"),
        ]
