"""Results of the finished steps of a run, kept until all are done.

A step's result is complete when its JSON file is there: that is written last,
whole or not at all. So the run after one that was killed knows what is left
to do, if it makes the same data set from the same files.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from collections.abc import Iterator

import numpy as np
from absl import logging

from mobilebert_tf import files
from mobilebert_tf.data import corpus as corpus_lib
from mobilebert_tf.data.pretraining_examples import shuffling

_JOB = "job"
_JOB_FILE = f"{_JOB}.json"
_LOCK = "lock"
# Changes when the same job would give other bytes.
_VERSION = 1


class WorkFolder:
    """A folder of results, known by the names of their steps.

    Picklable: the processes of a run share it.
    """

    def __init__(self, path: str):
        self.path = path

    @contextlib.contextmanager
    def open(self, job: object) -> Iterator[None]:
        """Makes the folder, or continues with it, and locks it meanwhile.

        Results of another job are removed. So is the folder if the block
        raises ValueError: the same job would do so again.

        Args:
            job: whose `repr` says everything that the data set is a function
                of.

        Raises:
            ValueError: if another process has locked the folder, or it holds
                something else than results.
        """
        if os.path.isdir(self.path):
            names = set(os.listdir(self.path)) - {_LOCK}
            if names and _JOB_FILE not in names:
                raise ValueError(
                    f"{self.path}: got a folder of other files, expected none: "
                    "intermediate results go there"
                )
        os.makedirs(self.path, exist_ok=True)
        lock = os.open(self._file(_LOCK), os.O_CREAT | os.O_RDWR)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(
                    f"{self.path}: another process is writing the same output"
                ) from None
            self._begin(job)
            try:
                yield
            except ValueError:
                self.remove()
                raise
        finally:
            os.close(lock)

    def _begin(self, job):
        digest = hashlib.sha256(repr((_VERSION, job)).encode()).hexdigest()
        found = self.counts(_JOB)
        if found and found["digest"] == digest:
            logging.info("%s: continuing an earlier run", self.path)
            return
        if found:
            logging.warning(
                "%s: starting anew: what an earlier run left there is of other "
                "text or options",
                self.path,
            )
            for name in set(os.listdir(self.path)) - {_LOCK, _JOB_FILE}:
                os.remove(self._file(name))
        self.finish(_JOB, {"digest": digest})

    def remove(self) -> None:
        """Removes the folder with all results."""
        shutil.rmtree(self.path)

    def counts(self, step: str) -> dict | None:
        """Returns what `finish` was given, or None for an unfinished step."""
        try:
            with open(self._file(f"{step}.json"), encoding="utf-8") as stream:
                return json.load(stream)
        except FileNotFoundError:
            return None

    def finish(self, step: str, counts: dict) -> dict:
        """Marks a step as finished; its result must be complete.

        Returns:
            `counts`, which `counts` returns from now on.
        """
        files.write_text(self._file(f"{step}.json"), json.dumps(counts))
        return counts

    def file(self, step: str, extension: str) -> str:
        """Returns the path of a file of a step's result."""
        return self._file(f"{step}.{extension}")

    def write_corpus(self, step: str, corpus: corpus_lib.Corpus) -> None:
        """Writes a tokenized slice."""
        tokens = corpus.tokens
        # Half the space for most vocabularies.
        if tokens.max(initial=0) < 1 << 16:
            tokens = tokens.astype(np.uint16)
        np.savez(
            self.file(step, "npz"),
            tokens=tokens,
            sentence_ends=corpus.sentence_ends,
            document_ends=corpus.document_ends,
        )

    def read_corpus(self, step: str) -> corpus_lib.Corpus:
        """Reads what `write_corpus` wrote."""
        with np.load(self.file(step, "npz")) as arrays:
            return corpus_lib.Corpus(
                arrays["tokens"].astype(np.int32),
                arrays["sentence_ends"],
                arrays["document_ends"],
            )

    def write_records(
        self, step: str, blocks: Iterable[shuffling.Block]
    ) -> int:
        """Writes records whose keys ascend from block to block.

        Returns:
            The size of all records in bytes.
        """
        keys = [np.zeros(0, np.uint64)]
        ends = [np.zeros(0, np.uint64)]
        size = 0
        with open(self.file(step, "records"), "wb") as stream:
            for block in blocks:
                stream.write(block.data)
                keys.append(block.keys)
                ends.append((size + block.ends).astype(np.uint64))
                size += len(block.data)
        index = np.stack([np.concatenate(keys), np.concatenate(ends)])
        np.save(self.file(step, "npy"), index)
        return size

    def bucket_sizes(self, step: str, buckets: int) -> np.ndarray:
        """Returns int64 [buckets]: records of a step in each bucket."""
        keys, _ = np.load(self.file(step, "npy"), mmap_mode="r")
        return np.diff(shuffling.bucket_limits(keys, buckets))

    def read_bucket(
        self, step: str, bucket: int, buckets: int
    ) -> shuffling.Block:
        """Reads the records of a step that are in one bucket."""
        keys, ends = np.load(self.file(step, "npy"), mmap_mode="r")
        low, high = shuffling.bucket_limits(keys, buckets)[bucket : bucket + 2]
        start = int(ends[low - 1]) if low else 0
        with open(self.file(step, "records"), "rb") as stream:
            stream.seek(start)
            size = (int(ends[high - 1]) if high else 0) - start
            data = stream.read(size)
        return shuffling.Block(
            np.array(keys[low:high]),
            ends[low:high].astype(np.int64) - start,
            data,
        )

    def _file(self, name):
        return os.path.join(self.path, name)
