"""Makes a data set on one machine, in several processes, to be continued.

All results go through a work folder, so no process holds more than a piece of
the text, and a run that was killed is continued by the next one.
"""

import collections
import contextlib
import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from mobilebert_tf import progress as progress_lib
from mobilebert_tf.data import pretraining_builder
from mobilebert_tf.data.pretraining_examples import shuffling
from mobilebert_tf.data.pretraining_examples import stages
from mobilebert_tf.data.pretraining_examples import statistics
from mobilebert_tf.data.pretraining_examples import work_folder
from mobilebert_tf.data.pretraining_examples import worker_processes

# A worker takes seconds to start, in which it could have read this much.
_BYTES_PER_WORKER = 4 * 2**20


@dataclasses.dataclass(frozen=True)
class State:
    """What every process of a run knows."""

    job: stages.Job
    folder: work_folder.WorkFolder


def default_workers(job: stages.Job) -> int:
    """Returns all cores, or fewer if there is not enough work for them."""
    size = sum(part.num_bytes for part in job.slices)
    useful = size * job.options.dupe_factor // _BYTES_PER_WORKER
    return max(1, min(worker_processes.available_cores(), useful))


def run(
    job: stages.Job,
    outputs: Mapping[str, Sequence[str]],
    folder: work_folder.WorkFolder,
    num_workers: int,
) -> tuple[dict[str, int], dict[str, statistics.Statistics]]:
    """Writes the shards of every data set of a job.

    The files are a function of the job alone: neither of the number of
    workers, nor of how often the run was killed.

    Args:
        job: the text and what to make of it.
        outputs: for each of `job.splits`, the paths of the shards; each is
            written whole or not at all, with equal shares of the instances.
        folder: opened for this job; results that are in it are not computed
            again.
        num_workers: processes to use.

    Returns:
        Counts over the text (`documents`, `sentences`, `tokens`), and the
        statistics of each data set.

    Raises:
        OSError: if a file cannot be read or written, or a worker was killed.
        ValueError: if a file is not UTF-8, there is no text, only one
            document where some are to be held out, or fewer instances than
            shards.
    """
    state = State(job, folder)
    with worker_processes.WorkerProcesses(num_workers, state) as workers:
        text_counts = _run(
            workers,
            folder,
            _Stage("tokenizing the text", "tokens", _tokenize),
            {_slice(i): (i,) for i in range(len(job.slices))},
        )
        if not text_counts["tokens"]:
            raise ValueError(
                "got no text in the input files, expected some words"
            )
        results = {}
        for split in job.splits:
            shown = split.replace("_", " ")
            results[split] = _run(
                workers,
                folder,
                _Stage(f"{shown}: making", "instances", _make_records),
                {
                    _pass(split, copy, piece): (split, copy, piece)
                    for piece in range(job.num_pieces)
                    for copy in range(job.passes(split))
                },
            )
        for split in job.splits:
            shown = split.replace("_", " ")
            _run(
                workers,
                folder,
                _Stage(f"{shown}: writing", "instances", _write_shard),
                _shards(state, split, results[split], outputs[split]),
            )
    return text_counts, {
        split: statistics.Statistics(counts)
        for split, counts in results.items()
    }


@dataclasses.dataclass(frozen=True)
class _Stage:
    """Name for the log, what is counted, and the function of a step."""

    name: str
    unit: str
    function: Callable[..., dict[str, int]]


def _run(workers, folder, stage, steps):
    """Runs the steps that are not finished; returns the sum of all counts."""
    total = collections.Counter()
    pending = []
    for step, arguments in steps.items():
        counts = folder.counts(step)
        if counts is None:
            pending.append((step, *arguments))
        else:
            total.update(counts)
    progress = progress_lib.Progress(
        stage.name, stage.unit, len(steps), len(steps) - len(pending)
    )
    for counts in workers.run(stage.function, pending):
        total.update(counts)
        progress.add(counts[stage.unit])
    return total


def _tokenize(state, step, index):
    corpus = stages.tokenize(state.job, index)
    with _named(state.folder.file(step, "npz")):
        state.folder.write_corpus(step, corpus)
        return state.folder.finish(
            step,
            {
                "documents": corpus.num_documents,
                "sentences": corpus.num_sentences,
                "tokens": len(corpus.tokens),
            },
        )


def _make_records(state, step, split, copy, piece):
    job, folder = state.job, state.folder
    slices = [
        folder.read_corpus(_slice(index))
        for index, part in enumerate(job.slices)
        if part.piece == piece
    ]
    corpus = stages.split(job, piece, slices)[split]
    total = statistics.Statistics()

    def blocks():
        name = pretraining_builder.pass_name(split, copy, piece)
        for block, counts in stages.records(job, name, corpus):
            total.update(counts)
            yield block

    with _named(folder.file(step, "records")):
        size = folder.write_records(step, blocks())
        return folder.finish(step, total.counts() | {"bytes": size})


def _shards(state, split, counts, paths):
    """Returns the steps that write the shards of a data set."""
    job, folder = state.job, state.folder
    passes = [
        _pass(split, copy, piece)
        for piece in range(job.num_pieces)
        for copy in range(job.passes(split))
    ]
    buckets = shuffling.num_buckets(counts["bytes"])
    sizes = sum(folder.bucket_sizes(step, buckets) for step in passes)
    ranges = shuffling.shard_ranges(counts["instances"], len(paths))
    return {
        f"shard-{split}-{shard:05d}": (path, *place, passes, sizes.tolist())
        for shard, (path, place) in enumerate(zip(paths, ranges, strict=True))
    }


def _write_shard(state, step, path, start, end, passes, bucket_sizes):
    folder = state.folder

    def read_bucket(bucket):
        return [
            folder.read_bucket(name, bucket, len(bucket_sizes))
            for name in passes
        ]

    with _named(path):
        pretraining_builder.write_shard(
            path,
            shuffling.records_of_range(bucket_sizes, start, end, read_bucket),
        )
        return folder.finish(step, {"instances": end - start})


@contextlib.contextmanager
def _named(path):
    """Adds the file to errors like "No space left on device"."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, path) from error


def _slice(index):
    return f"slice-{index:06d}"


def _pass(split, copy, piece):
    return f"pass-{pretraining_builder.pass_name(split, copy, piece)}"
