"""What is computed from a slice and from a piece, whoever runs it.

Text becomes slices (text_slices.py), each of which is tokenized; the slices
of a piece are joined and split into what is kept and what is held out; every
pass over either gives records with random keys (pretraining_builder.py), and
all records in the order of their keys are the data set (shuffling.py).
"""

import dataclasses
import functools
import tempfile
from collections.abc import Iterator
from collections.abc import Sequence

from absl import logging

from mobilebert_tf import tokenization
from mobilebert_tf.data import corpus as corpus_lib
from mobilebert_tf.data import pretraining_builder
from mobilebert_tf.data.pretraining_examples import shuffling
from mobilebert_tf.data.pretraining_examples import statistics
from mobilebert_tf.data.pretraining_examples import text_slices


@dataclasses.dataclass(frozen=True)
class Job:
    """Text and what to make of it; picklable.

    Attributes:
        slices: of the text.
        vocabulary: content of the vocabulary file.
        lower_case: for uncased models.
        options: of the training instances; held-out ones differ in that they
            are one pass.
        held_out_fraction: share of each piece's tokens to hold out, 0 for
            none.
    """

    slices: tuple[text_slices.Slice, ...]
    vocabulary: bytes
    lower_case: bool
    options: pretraining_builder.BuilderOptions
    held_out_fraction: float = 0.0

    @property
    def num_pieces(self) -> int:
        return self.slices[-1].piece + 1

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the data sets to make, the smaller one first."""
        if self.held_out_fraction:
            return pretraining_builder.HELD_OUT, pretraining_builder.TRAINING
        return (pretraining_builder.TRAINING,)

    def passes(self, split: str) -> int:
        """Returns the number of passes over the text of a data set."""
        if split == pretraining_builder.HELD_OUT:
            return 1
        return self.options.dupe_factor


def tokenize(job: Job, index: int) -> corpus_lib.Corpus:
    """Tokenizes slice `index`; the corpus may be empty.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if a file is not UTF-8.
    """
    return corpus_lib.tokenize(job.slices[index].documents(), _tokenizer(job))


def split(
    job: Job, piece: int, slices: Sequence[corpus_lib.Corpus]
) -> dict[str, corpus_lib.Corpus]:
    """Joins the slices of a piece and holds out a part of it.

    A piece of one document keeps it.

    Args:
        job: says how much to hold out.
        piece: index of the piece.
        slices: all slices of the piece, in order.

    Returns:
        The corpus of each of `job.splits`.

    Raises:
        ValueError: if the whole text is one document, and some of it is to be
            held out.
    """
    whole = corpus_lib.concatenate(slices)
    if whole.num_documents == 1:
        logging.warning(
            "part %d of the text is a single document: random next segments "
            "come from the same document (empty lines separate documents)",
            piece,
        )
    if not job.held_out_fraction:
        return {pretraining_builder.TRAINING: whole}
    if whole.num_documents < 2 and job.num_pieces > 1:
        kept, held_out = whole, corpus_lib.empty()
    else:
        kept, held_out = corpus_lib.split(
            whole, job.held_out_fraction, abs(job.options.random_seed) + piece
        )
    return {
        pretraining_builder.TRAINING: kept,
        pretraining_builder.HELD_OUT: held_out,
    }


def records(
    job: Job, name: str, corpus: corpus_lib.Corpus
) -> Iterator[tuple[shuffling.Block, statistics.Statistics]]:
    """Makes the records of one pass over one piece.

    Args:
        job: says how.
        name: from pretraining_builder.pass_name.
        corpus: of the piece and the data set.

    Yields:
        Blocks of records whose keys go on ascending, and the counts of each.
    """
    return pretraining_builder.records(
        corpus, _tokenizer(job), job.options, name
    )


def _tokenizer(job):
    return _make_tokenizer(job.vocabulary, job.lower_case)


@functools.lru_cache(maxsize=1)
def _make_tokenizer(vocabulary, lower_case):
    # From the content: a machine far away may not have the file.
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(vocabulary)
        stream.flush()
        return tokenization.WordPieceTokenizer(stream.name, lower_case)
