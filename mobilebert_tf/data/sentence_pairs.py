"""Chooses the segment pairs of BERT's next-sentence task.

The algorithm of `create_pretraining_data.py` in google-research/bert. A
segment is a run of whole sentences that is then cut at its ends, so a pair is
described by two slices of the corpus and no token is copied here.
"""

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
    seed: int,
    copy: int = 0,
) -> Iterator[np.ndarray]:
    """Yields the pairs of each document, in order of the documents.

    Each document has a random stream of its own, so the pairs of one do not
    depend on how many were drawn for those before it.

    Args:
        corpus: the tokens.
        max_tokens: largest sum of both lengths (without special tokens), at
            least 2.
        short_seq_prob: share of documents whose pairs aim at a random shorter
            length, so that the model also sees short inputs.
        seed: of all choices.
        copy: which pass over the corpus; each makes other choices.

    Yields:
        int64 [pairs, 5]: start and end of A, start and end of B (as positions
        in corpus.tokens), 1 if B does not follow A.
    """
    # Python integers: indexing NumPy arrays one element at a time is slower.
    sentences = corpus.sentence_ends.tolist()
    documents = corpus.document_ends.tolist()
    for document in range(corpus.num_documents):
        rng = random.Random(f"{seed}/{copy}/{document}")
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
        stop = start + 1
        while stop < end and sentences[stop] - sentences[start] < target:
            stop += 1
        middle = start + 1
        if stop - start >= 2:
            middle = rng.randint(start + 1, stop - 1)
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
        other = rng.randrange(len(documents) - 1)
        if other != document:
            break
    end = documents[other + 1]
    start = rng.randrange(documents[other], end)
    stop = start + 1
    while stop < end and sentences[stop] - sentences[start] < wanted:
        stop += 1
    return sentences[start], sentences[stop]


def _cut(start, end, length, rng):
    """Cuts a slice to `length`, each token from a random end."""
    excess = end - start - length
    if not excess:
        return start, end
    front = rng.getrandbits(excess).bit_count()
    return start + front, end - (excess - front)
