"""A tokenized corpus as three flat arrays."""

import dataclasses
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from mobilebert_tf import tokenization

# Sentences tokenized at once.
_SENTENCES_PER_CALL = 8192


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Token ids of all documents, one after the other.

    Attributes:
        tokens: int32 [tokens].
        sentence_ends: int64 [sentences + 1]; sentence i is
            tokens[sentence_ends[i] : sentence_ends[i + 1]].
        document_ends: int64 [documents + 1]; document d has the sentences
            from document_ends[d] to before document_ends[d + 1].
    """

    tokens: np.ndarray
    sentence_ends: np.ndarray
    document_ends: np.ndarray

    @property
    def num_documents(self) -> int:
        return len(self.document_ends) - 1

    @property
    def num_sentences(self) -> int:
        return len(self.sentence_ends) - 1

    def document_sizes(self) -> np.ndarray:
        """Returns the number of tokens of each document, int64."""
        return np.diff(self.sentence_ends[self.document_ends])

    def select(self, documents: Sequence[int]) -> "Corpus":
        """Returns a corpus of some of the documents, in the given order."""
        if not len(documents):
            return empty()
        lengths = np.diff(self.sentence_ends)
        sentences = [
            np.arange(self.document_ends[d], self.document_ends[d + 1])
            for d in documents
        ]
        tokens = [
            self.tokens[
                self.sentence_ends[s[0]] : self.sentence_ends[s[-1] + 1]
            ]
            for s in sentences
        ]
        return Corpus(
            np.concatenate(tokens),
            _ends(lengths[np.concatenate(sentences)]),
            _ends([len(s) for s in sentences]),
        )


def empty() -> Corpus:
    """Returns a corpus without documents."""
    return Corpus(np.zeros(0, np.int32), _ends([]), _ends([]))


def concatenate(corpora: Sequence[Corpus]) -> Corpus:
    """Joins corpora, one after the other."""
    tokens = [corpus.tokens for corpus in corpora]
    lengths = [np.diff(corpus.sentence_ends) for corpus in corpora]
    counts = [np.diff(corpus.document_ends) for corpus in corpora]
    return Corpus(
        np.concatenate(tokens),
        _ends(np.concatenate(lengths)),
        _ends(np.concatenate(counts)),
    )


def tokenize(
    documents: Iterable[Sequence[str]],
    tokenizer: tokenization.WordPieceTokenizer,
) -> Corpus:
    """Tokenizes documents; sentences and documents without tokens are dropped.

    Args:
        documents: sentences of each document.
        tokenizer: maps sentences to ids.

    Returns:
        The corpus.
    """
    tokens = [np.zeros(0, np.int32)]
    lengths = [np.zeros(0, np.int64)]
    owners = [np.zeros(0, np.int64)]
    pending = []

    def flush():
        if not pending:
            return
        pieces = tokenizer.tokenize(tf.constant(pending))
        tokens.append(pieces.flat_values.numpy())
        lengths.append(pieces.row_lengths().numpy())
        pending.clear()

    for document, sentences in enumerate(documents):
        pending.extend(sentences)
        owners.append(np.full(len(sentences), document))
        if len(pending) >= _SENTENCES_PER_CALL:
            flush()
    flush()
    lengths = np.concatenate(lengths)
    owners = np.concatenate(owners)[lengths > 0]
    _, sentences_per_document = np.unique(owners, return_counts=True)
    return Corpus(
        np.concatenate(tokens),
        _ends(lengths[lengths > 0]),
        _ends(sentences_per_document),
    )


def split(
    corpus: Corpus, held_out_fraction: float, seed: int
) -> tuple[Corpus, Corpus]:
    """Splits off whole documents for evaluation.

    Documents are drawn at random until they hold the given share of all
    tokens; at least one document stays on either side. Those larger than a
    tenth of that share come last: evaluation should see many documents.

    Args:
        corpus: two documents or more.
        held_out_fraction: share of tokens to hold out, in (0, 1).
        seed: of the draw.

    Returns:
        The documents kept, in order, and those held out, in order.

    Raises:
        ValueError: if there is only one document.
    """
    if corpus.num_documents < 2:
        raise ValueError(
            "--held_out_fraction: got 1 document, expected at least 2 to "
            "hold one out"
        )
    sizes = corpus.document_sizes()
    wanted = held_out_fraction * sizes.sum()
    order = np.random.default_rng(seed).permutation(corpus.num_documents)
    order = order[np.argsort(sizes[order] > wanted / 10, kind="stable")]
    count = 1 + np.searchsorted(np.cumsum(sizes[order]), wanted)
    count = min(count, corpus.num_documents - 1)
    return (
        corpus.select(np.sort(order[count:])),
        corpus.select(np.sort(order[:count])),
    )


def _ends(lengths):
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    return ends
