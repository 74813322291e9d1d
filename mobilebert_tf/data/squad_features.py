"""SQuAD examples -> windows of token ids, as BERT's run_squad.py makes them.

A window is [CLS] question [SEP] part of the context [SEP]. A context too long
for one becomes several, `doc_stride` pieces apart.

Legend: N windows, S sequence.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from mobilebert_tf import tokenization
from mobilebert_tf import wordpiece
from mobilebert_tf.data import feature_cache
from mobilebert_tf.data import squad
from mobilebert_tf.data.pretraining_examples import worker_processes

Features = Mapping[str, np.ndarray]

# Changes whenever the features of the same input would be others.
FORMAT_VERSION = 1

FIRST_UNIQUE_ID = 1_000_000_000
# In token_to_word: the token is not of the context.
NO_WORD = -1

# [CLS], [SEP], [SEP].
_SPECIAL_TOKENS = 3
# Questions that a worker takes at once.
_QUESTIONS_PER_CHUNK = 256
# A worker takes seconds to start, in which it could have made so many.
_QUESTIONS_PER_WORKER = 25_000
# Chunks whose features may wait in memory, for each worker.
_CHUNKS_PER_WORKER = 4
# Distinct words whose ids are remembered.
_REMEMBERED_WORDS = 2**18


@dataclasses.dataclass(frozen=True)
class WindowOptions:
    """Lengths in tokens.

    Attributes:
        max_seq_length: S.
        max_query_length: the question is cut to it.
        doc_stride: from the start of a window's context to the next's.
        is_training: whether to give positions of answers, or what decoding
            needs.
    """

    max_seq_length: int = 384
    max_query_length: int = 64
    doc_stride: int = 128
    is_training: bool = False

    def __post_init__(self):
        shortest = self.max_query_length + _SPECIAL_TOKENS + 1
        for name, low in (
            ("max_query_length", 1),
            ("doc_stride", 1),
            ("max_seq_length", shortest),
        ):
            if getattr(self, name) < low:
                raise ValueError(
                    f"--{name}: got {getattr(self, name)}, expected at least "
                    f"{low}"
                )


class WindowMaker:
    """Makes the windows of some questions; can be sent to other processes.

    Attributes:
        options: lengths.
        tokenizer: made of the vocabulary; gives ids in batches.
    """

    def __init__(
        self,
        vocab_file: str,
        options: WindowOptions,
        lower_case: bool = True,
        mode: str = wordpiece.BERT,
    ):
        """Loads the vocabulary; see `wordpiece.VocabularyTokenizer`."""
        self.options = options
        self.tokenizer = tokenization.WordPieceTokenizer(
            vocab_file, lower_case, mode
        )
        self._arguments = vocab_file, options, lower_case, mode
        self._ids = {}

    def __reduce__(self):
        return WindowMaker, self._arguments

    def features(self, examples: Sequence[squad.Example]) -> Features:
        """Returns the windows of some examples, in order.

        Each distinct context is split once, and each distinct word of all
        examples so far tokenized once.

        Args:
            examples: questions.

        Returns:
            `unique_ids`: int64 [N], counted from FIRST_UNIQUE_ID;
            `example_index`: int32 [N], position in `examples`;
            `input_word_ids`: int32 [N, S];
            `context_start`, `context_length`: int32 [N], the tokens of the
            context;
            for training `start_positions`, `end_positions`: int32 [N], both
            0 where the window does not hold the whole answer, and
            `is_impossible`: bool [N], whether that is so;
            else `token_to_word`: int32 [N, S], which of the words of
            `squad.split_words(context)` a token is of, NO_WORD outside of the
            context, and `token_is_max_context`: bool [N, S], whether no other
            window has more context on both sides of the token.
        """
        self._learn(examples)
        contexts = {
            text: self._pieces(text)
            for text in dict.fromkeys(example.context for example in examples)
        }
        queries = [
            self._pieces(example.question)[0][: self.options.max_query_length]
            for example in examples
        ]
        windows = [
            _windows(
                len(contexts[example.context][0]), len(query), self.options
            )
            for example, query in zip(examples, queries, strict=True)
        ]
        features = self._empty([len(starts) for starts, _ in windows])
        first = 0
        for example, query, (starts, lengths) in zip(
            examples, queries, windows, strict=True
        ):
            end = first + len(starts)
            rows = {
                name: column[first:end] for name, column in features.items()
            }
            pieces = contexts[example.context]
            self._fill(rows, query, pieces, starts, lengths)
            if self.options.is_training and not example.is_impossible:
                span = self._answer_span(example, pieces)
                _fill_answer(rows, span, starts, lengths)
            first = end
        return features

    def cache_key(self) -> feature_cache.Key:
        """Returns what the windows depend on besides the examples."""
        vocab_file, _, lower_case, mode = self._arguments
        return dataclasses.asdict(self.options) | {
            "version": FORMAT_VERSION,
            "vocabulary": feature_cache.digest(vocab_file),
            "lower_case": lower_case,
            "tokenizer_mode": mode,
        }

    def _learn(self, examples):
        """Tokenizes, in one call, the words that are not remembered."""
        texts = dict.fromkeys(example.context for example in examples)
        texts.update(dict.fromkeys(example.question for example in examples))
        if self.options.is_training:
            # An answer is often a part of a word of its context.
            texts.update(
                dict.fromkeys(e.answers[0].text for e in examples if e.answers)
            )
        words = dict.fromkeys(
            itertools.chain.from_iterable(map(squad.split_words, texts))
        )
        if len(self._ids) + len(words) > _REMEMBERED_WORDS:
            self._ids.clear()
        new = [word for word in words if word not in self._ids]
        if new:
            ids = self.tokenizer.tokenize(new).to_list()
            self._ids.update(zip(new, ids, strict=True))

    def _pieces(self, text):
        """Returns int32 [pieces] twice: ids, and of which word each is."""
        ids = [self._ids[word] for word in squad.split_words(text)]
        return (
            np.array(list(itertools.chain.from_iterable(ids)), np.int32),
            np.repeat(
                np.arange(len(ids), dtype=np.int32), [len(i) for i in ids]
            ),
        )

    def _empty(self, windows_per_example):
        """Returns features of nothing but padding and counts."""
        rows = sum(windows_per_example)
        shape = rows, self.options.max_seq_length
        features = {
            "unique_ids": FIRST_UNIQUE_ID + np.arange(rows, dtype=np.int64),
            "example_index": np.repeat(
                np.arange(len(windows_per_example), dtype=np.int32),
                windows_per_example,
            ),
            "input_word_ids": np.full(shape, self.tokenizer.pad_id, np.int32),
            "context_start": np.zeros(rows, np.int32),
            "context_length": np.zeros(rows, np.int32),
        }
        if self.options.is_training:
            features["start_positions"] = np.zeros(rows, np.int32)
            features["end_positions"] = np.zeros(rows, np.int32)
            features["is_impossible"] = np.ones(rows, bool)
        else:
            features["token_to_word"] = np.full(shape, NO_WORD, np.int32)
            features["token_is_max_context"] = np.zeros(shape, bool)
        return features

    def _fill(self, rows, query, pieces, starts, lengths):
        """Fills in the windows of one example."""
        ids, word_of_piece = pieces
        first = len(query) + 2  # of the context's tokens
        rows["context_start"][:] = first
        rows["context_length"][:] = lengths
        word_ids = rows["input_word_ids"]
        word_ids[:, 0] = self.tokenizer.cls_id
        word_ids[:, 1 : first - 1] = query
        word_ids[:, first - 1] = self.tokenizer.sep_id
        if not self.options.is_training:
            best = _best_windows(len(ids), starts, lengths)
        for window, (start, length) in enumerate(
            zip(starts, lengths, strict=True)
        ):
            end = first + length
            word_ids[window, first:end] = ids[start : start + length]
            word_ids[window, end] = self.tokenizer.sep_id
            if not self.options.is_training:
                rows["token_to_word"][window, first:end] = word_of_piece[
                    start : start + length
                ]
                rows["token_is_max_context"][window, first:end] = (
                    best[start : start + length] == window
                )

    def _answer_span(self, example, pieces):
        """Returns the first and last piece of the answer.

        Of the words that the answer touches, only the pieces that are its own,
        if they occur: of "(1895-1943)." only "1895". The last is before the
        first if the answer has no piece at all.
        """
        ids, word_of_piece = pieces
        answer = example.answers[0]
        first_word, last_word = squad.answer_words(example.context, answer)
        first = int(np.searchsorted(word_of_piece, first_word))
        end = int(np.searchsorted(word_of_piece, last_word, side="right"))
        wanted = self._pieces(answer.text)[0].tolist()
        touched = ids[first:end].tolist()
        if wanted:
            for start in range(len(touched) - len(wanted) + 1):
                if touched[start : start + len(wanted)] == wanted:
                    return first + start, first + start + len(wanted) - 1
        return first, end - 1


def _windows(num_pieces, query_length, options):
    """Returns the first piece and the length of each window, as lists."""
    room = options.max_seq_length - query_length - _SPECIAL_TOKENS
    if not num_pieces:
        return [], []
    step = min(room, options.doc_stride)
    starts = list(range(0, max(1, num_pieces - room + step), step))
    return starts, [min(room, num_pieces - start) for start in starts]


def _best_windows(num_pieces, starts, lengths):
    """Returns int [pieces]: in which window each has most context.

    That is the smaller one of what is on its left and right, plus a hundredth
    of the window's length; the first of equal ones.
    """
    best = np.zeros(num_pieces, np.int32)
    if len(starts) == 1:
        return best
    best_scores = np.full(num_pieces, -1.0)
    for window, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        left = np.arange(length)
        scores = np.minimum(left, left[::-1]) + 0.01 * length
        is_better = scores > best_scores[start : start + length]
        best_scores[start : start + length][is_better] = scores[is_better]
        best[start : start + length][is_better] = window
    return best


def _fill_answer(rows, span, starts, lengths):
    """Fills in positions where a window holds the whole answer."""
    first, last = span
    starts, lengths = np.array(starts), np.array(lengths)
    is_inside = (first <= last) & (starts <= first) & (last < starts + lengths)
    offsets = rows["context_start"] - starts
    rows["start_positions"][is_inside] = (first + offsets)[is_inside]
    rows["end_positions"][is_inside] = (last + offsets)[is_inside]
    rows["is_impossible"][is_inside] = False


def default_workers(num_examples: int) -> int:
    """Returns all cores, or fewer if there is not enough work for them."""
    useful = num_examples // _QUESTIONS_PER_WORKER
    return max(1, min(worker_processes.available_cores(), useful))


def batches(
    examples: Sequence[squad.Example],
    maker: WindowMaker,
    num_workers: int = 1,
) -> Iterator[Features]:
    """Yields the windows of all examples, some hundred questions at a time.

    The windows are the same, in the same order, for any number of workers,
    and only some chunks of them are held at once.

    Args:
        examples: questions.
        maker: makes the windows.
        num_workers: processes; see `default_workers`.

    Yields:
        Features as of `WindowMaker.features`; the counts go on.
    """
    num_examples = num_windows = 0
    group_size = num_workers * _CHUNKS_PER_WORKER
    chunks = _chunks(examples)
    with worker_processes.WorkerProcesses(num_workers, maker) as workers:
        while group := list(itertools.islice(chunks, group_size)):
            made = dict(workers.run(_numbered_features, enumerate(group)))
            for number, chunk in enumerate(group):
                features = made.pop(number)
                features["unique_ids"] += num_windows
                features["example_index"] += num_examples
                yield features
                num_examples += len(chunk)
                num_windows += len(features["unique_ids"])


def _chunks(examples):
    """Yields lists of examples."""
    for start in range(0, len(examples), _QUESTIONS_PER_CHUNK):
        yield examples[start : start + _QUESTIONS_PER_CHUNK]


def _numbered_features(maker, number, examples):
    return number, maker.features(examples)


def all_features(
    examples: Sequence[squad.Example],
    maker: WindowMaker,
    num_workers: int = 1,
) -> Features:
    """Returns the windows of all examples, in memory; see `batches`."""
    parts = list(batches(examples, maker, num_workers))
    if not parts:
        return maker.features([])
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def cached_features(
    examples: Sequence[squad.Example],
    maker: WindowMaker,
    cache_file: str,
    num_workers: int = 1,
) -> Features:
    """Returns the windows of all examples, from `cache_file` if they are there.

    The file is used again for the same examples (all their texts, not only
    their ids), vocabulary and options; see `feature_cache.load_or_build`.

    Args:
        examples: questions, at least one.
        maker: makes the windows, if need be.
        cache_file: read and written.
        num_workers: processes.
    """
    key = maker.cache_key() | {
        "task": "squad",
        "examples": squad.digest(examples),
    }
    return feature_cache.load_or_build(
        cache_file,
        key,
        functools.partial(batches, examples, maker, num_workers),
    )


def model_inputs(features: Features) -> dict[str, np.ndarray]:
    """Returns what the model reads.

    Args:
        features: of some windows.

    Returns:
        `input_word_ids`, `input_mask`, `input_type_ids`: int32 [N, S].
    """
    word_ids = np.asarray(features["input_word_ids"])
    position = np.arange(word_ids.shape[1])
    start = np.asarray(features["context_start"])[:, np.newaxis]
    end = start + np.asarray(features["context_length"])[:, np.newaxis]
    is_token = position <= end  # the last is a [SEP]
    return {
        "input_word_ids": word_ids,
        "input_mask": is_token.astype(np.int32),
        "input_type_ids": (is_token & (position >= start)).astype(np.int32),
    }
