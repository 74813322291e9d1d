"""Chooses the segment pairs of BERT's next-sentence task.

The algorithm of `create_pretraining_data.py` in google-research/bert. A
segment is a run of whole sentences that is then cut at its ends, so a pair is
described by two slices of the corpus and no token is copied here.
"""

import bisect
import random
from collections.abc import Iterator

import numpy as np

from mobilebert_tf.data.corpus import Corpus

# Columns of the arrays returned by `plan`.
A_START, A_END, B_START, B_END, IS_RANDOM_NEXT = range(5)

# A drawn document that is the present one is drawn again, this many times at
# most: the corpus may consist of one document.
_DRAWS = 10


def plan(
    corpus: Corpus,
    max_tokens: int,
    short_seq_prob: float,
    rng: random.Random,
) -> Iterator[np.ndarray]:
    """Yields the pairs of each document, in order of the documents.

    Args:
        corpus: the tokens.
        max_tokens: largest sum of both lengths (without special tokens), at
            least 2.
        short_seq_prob: share of documents whose pairs aim at a random shorter
            length, so that the model also sees short inputs.
        rng: of all choices.

    Yields:
        int64 [pairs, 5]: start and end of A, start and end of B (as positions
        in corpus.tokens), 1 if B does not follow A.
    """
    # Python integers: indexing NumPy arrays one element at a time is slower.
    sentences = corpus.sentence_ends.tolist()
    documents = corpus.document_ends.tolist()
    for document in range(corpus.num_documents):
        pairs = list(
            _plan_document(
                sentences, documents, document, max_tokens, short_seq_prob, rng
            )
        )
        yield np.array(pairs, np.int64).reshape([-1, 5])


def truncated_lengths(a: int, b: int, max_tokens: int) -> tuple[int, int]:
    """Returns both lengths after cutting the longer one token by token.

    B is cut when they are equal, as in BERT's `truncate_seq_pair`.
    """
    if a + b <= max_tokens:
        return a, b
    if a <= (max_tokens + 1) // 2:
        return a, max_tokens - a
    if b <= max_tokens // 2:
        return max_tokens - b, b
    return (max_tokens + 1) // 2, max_tokens // 2


def _plan_document(
    sentences, documents, document, max_tokens, short_seq_prob, rng
):
    first, end = documents[document], documents[document + 1]
    target = max_tokens
    if rng.random() < short_seq_prob:
        target = rng.randint(2, max_tokens)
    start = first
    while start < end:
        # The chunk: sentences from `start` to before `stop`.
        stop = _reach(sentences, start, end, target)
        middle = start + 1
        if stop - start >= 2:
            middle = start + 1 + _below(stop - start - 1, rng)
        a = sentences[start], sentences[middle]
        is_random_next = stop - start == 1 or rng.random() < 0.5
        if is_random_next:
            wanted = max(1, target - (a[1] - a[0]))
            b = _random_segment(sentences, documents, document, wanted, rng)
            # The sentences not used begin the next chunk.
            stop = middle
        else:
            b = sentences[middle], sentences[stop]
        length_a, length_b = truncated_lengths(
            a[1] - a[0], b[1] - b[0], max_tokens
        )
        yield (
            *_cut(*a, length_a, rng),
            *_cut(*b, length_b, rng),
            int(is_random_next),
        )
        start = stop


def _random_segment(sentences, documents, document, wanted, rng):
    """Returns a slice of at least `wanted` tokens of another document."""
    for _ in range(_DRAWS):
        other = _below(len(documents) - 1, rng)
        if other != document:
            break
    first, end = documents[other], documents[other + 1]
    start = first + _below(end - first, rng)
    return sentences[start], sentences[_reach(sentences, start, end, wanted)]


def _reach(sentences, start, end, wanted):
    """Returns the end of the shortest run of sentences of `wanted` tokens.

    It has one sentence at least and ends at `end` if there are too few tokens.
    """
    return bisect.bisect_left(
        sentences, sentences[start] + wanted, start + 1, end
    )


def _below(limit, rng):
    """Returns a number below `limit`; several times as fast as randrange()."""
    return int(rng.random() * limit)


def _cut(start, end, length, rng):
    """Cuts a slice to `length`, each token from a random end."""
    excess = end - start - length
    if not excess:
        return start, end
    front = rng.getrandbits(excess).bit_count()
    return start + front, end - (excess - front)
