"""Makes a data set as an Apache Beam pipeline, on any of Beam's runners.

The stages are those of local_runner.py and so are the bytes of the files.
Results travel through the pipeline; only parts of shards are put into a folder
beside the output, which must be one that all machines reach.
"""

import collections
import contextlib
import json
import re
import tempfile
import typing
import uuid
from collections.abc import Mapping
from collections.abc import Sequence

import apache_beam as beam
import tensorflow as tf
from apache_beam.io import filesystem
from apache_beam.io import filesystems
from apache_beam.options import pipeline_options

from mobilebert_tf.data import pretraining_builder
from mobilebert_tf.data.pretraining_examples import shuffling
from mobilebert_tf.data.pretraining_examples import stages
from mobilebert_tf.data.pretraining_examples import statistics

# Records take about twice the space of the text, per pass.
_RECORD_BYTES_PER_TEXT_BYTE = 2
_COPY_BYTES = 2**20
# In what is counted: the text, or else the name of a data set.
_TEXT = "text"

# Files in the folder.
_COUNTS = "counts.json"
_PART = re.compile("[0-9a-f]{32}")

_UNCOMPRESSED = filesystem.CompressionTypes.UNCOMPRESSED
_PAIR = tuple[typing.Any, typing.Any]

_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): (.*)$", re.MULTILINE)
_STEP = re.compile(r"\s*\[while running .*", re.DOTALL)


def run(
    job: stages.Job,
    outputs: Mapping[str, Sequence[str]],
    folder: str,
    arguments: Sequence[str],
) -> tuple[dict[str, int], dict[str, statistics.Statistics]]:
    """Writes the shards of every data set of a job.

    Args:
        job: the text and what to make of it; every machine must be able to
            read the files.
        outputs: for each of `job.splits`, the paths of the shards; each is
            written whole or not at all, with equal shares of the instances.
        folder: for parts of shards, removed at the end.
        arguments: options of the pipeline, as on a command line.

    Returns:
        Counts over the text (`documents`, `sentences`, `tokens`), and the
        statistics of each data set.

    Raises:
        OSError: if the pipeline fails, with the message of what failed.
        ValueError: if an option is wrong, there is no text, fewer instances
            than shards, or `folder` holds other files.
    """
    _prepare(folder)
    try:
        options = pipeline_options.PipelineOptions(list(arguments))
        pipeline = beam.Pipeline(options=options)
        make_shards(pipeline, job, outputs, folder)
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:  # every runner has its own
            raise OSError(_message(error)) from error
        counts = _read_counts(folder)
    finally:
        with contextlib.suppress(OSError):
            filesystems.FileSystems.delete([folder])
    if not counts[_TEXT]["tokens"]:
        raise ValueError("got no text in the input files, expected some words")
    for split in job.splits:
        # Without any instance no step of the pipeline noticed.
        shuffling.shard_ranges(counts[split]["instances"], len(outputs[split]))
    return dict(counts.pop(_TEXT)), {
        split: statistics.Statistics(counts[split]) for split in job.splits
    }


def make_shards(
    pipeline: beam.Pipeline,
    job: stages.Job,
    outputs: Mapping[str, Sequence[str]],
    folder: str,
) -> beam.PCollection:
    """Adds the steps from text to shards to a pipeline.

    Args:
        pipeline: to add to.
        job: the text and what to make of it.
        outputs: paths of the shards of each data set.
        folder: for parts of shards and the counts.

    Returns:
        The paths of the shards, once they are written.
    """
    corpora = (
        pipeline
        | "Slices" >> beam.Create(range(len(job.slices)))
        | "Spread slices" >> beam.Reshuffle()
        | "Tokenize" >> beam.Map(_tokenize, job)
    )
    passes = (
        corpora
        | "Join slices" >> beam.GroupByKey()
        | "Passes" >> beam.FlatMap(_passes, job)
        | "Spread passes" >> beam.Reshuffle()
    )
    records = passes | "Make records" >> beam.FlatMap(
        _records, job, _num_buckets(job)
    ).with_output_types(_PAIR).with_outputs("counts", main="blocks")
    bucket_sizes = (
        records.blocks
        | "Records" >> beam.MapTuple(lambda key, part: (key, len(part[1].keys)))
        | "Sizes of buckets" >> beam.CombinePerKey(sum)
    )
    (
        (corpora | "Count text" >> beam.FlatMap(_text_counts), records.counts)
        | "All counts" >> beam.Flatten()
        | "Sum counts" >> beam.CombinePerKey(sum)
        | "List counts" >> beam.combiners.ToList()
        | "Write counts" >> beam.Map(_write_counts, folder)
    )
    return (
        records.blocks
        | "Join buckets" >> beam.GroupByKey()
        | "Write parts"
        >> beam.FlatMap(
            _write_parts, beam.pvalue.AsDict(bucket_sizes), outputs, folder
        )
        | "Join parts" >> beam.GroupByKey()
        | "Write shards" >> beam.MapTuple(_write_shard)
    )


def _prepare(folder):
    """Makes the folder, or takes over that of a pipeline that was killed."""
    if not filesystems.FileSystems.exists(folder):
        filesystems.FileSystems.mkdirs(folder)
        return
    pattern = filesystems.FileSystems.join(folder, "*")
    for file in filesystems.FileSystems.match([pattern])[0].metadata_list:
        _, name = filesystems.FileSystems.split(file.path)
        if name != _COUNTS and not _PART.fullmatch(name):
            raise ValueError(
                f"{folder}: got a folder of other files, expected none: "
                "intermediate results go there"
            )


def _num_buckets(job):
    size = sum(part.num_bytes for part in job.slices)
    passes = job.passes(pretraining_builder.TRAINING)
    return shuffling.num_buckets(_RECORD_BYTES_PER_TEXT_BYTE * size * passes)


def _tokenize(index, job):
    """Returns (piece, (slice, corpus))."""
    return job.slices[index].piece, (index, stages.tokenize(job, index))


def _text_counts(tokenized):
    _, (_, corpus) = tokenized
    yield (_TEXT, "documents"), corpus.num_documents
    yield (_TEXT, "sentences"), corpus.num_sentences
    yield (_TEXT, "tokens"), len(corpus.tokens)


def _passes(grouped, job):
    """Yields (data set, copy, piece, corpus)."""
    piece, slices = grouped
    ordered = [corpus for _, corpus in sorted(slices, key=lambda s: s[0])]
    for split, corpus in stages.split(job, piece, ordered).items():
        for copy in range(job.passes(split)):
            yield split, copy, piece, corpus


def _records(one_pass, job, buckets):
    """Yields ((data set, bucket), (place, block)), and counts."""
    split, copy, piece, corpus = one_pass
    total = statistics.Statistics()
    name = pretraining_builder.pass_name(split, copy, piece)
    for number, (block, counts) in enumerate(stages.records(job, name, corpus)):
        total.update(counts)
        limits = shuffling.bucket_limits(block.keys, buckets).tolist()
        for bucket, (low, high) in enumerate(
            zip(limits, limits[1:], strict=False)
        ):
            if low < high:
                part = block.select(low, high)
                yield (split, bucket), ((piece, copy, number), part)
    for name, count in total.counts().items():
        yield beam.pvalue.TaggedOutput("counts", ((split, name), count))


def _write_parts(grouped, bucket_sizes, outputs, folder):
    """Writes a bucket's records; yields (path of shard, (bucket, part))."""
    (split, bucket), parts = grouped
    sizes = collections.Counter(
        {b: size for (s, b), size in bucket_sizes.items() if s == split}
    )
    before = sum(size for b, size in sizes.items() if b < bucket)
    blocks = [block for _, block in sorted(parts, key=lambda part: part[0])]
    records = list(shuffling.merge(blocks))
    ranges = shuffling.shard_ranges(sizes.total(), len(outputs[split]))
    for path, (start, end) in zip(outputs[split], ranges, strict=True):
        chosen = records[max(0, start - before) : max(0, end - before)]
        if chosen:
            # A runner may try a step twice at once.
            part = filesystems.FileSystems.join(folder, uuid.uuid4().hex)
            _write_part(part, chosen)
            yield path, (bucket, part)


def _write_part(path, records):
    with tempfile.NamedTemporaryFile() as local:
        with tf.io.TFRecordWriter(local.name) as writer:
            for record in records:
                writer.write(record)
        with open(local.name, "rb") as source, _create(path) as target:
            _copy(source, target)


def _write_shard(path, parts):
    """Joins the parts of a shard, whole or not at all."""
    folder, name = filesystems.FileSystems.split(path)
    if folder:
        with contextlib.suppress(OSError):  # it is there
            filesystems.FileSystems.mkdirs(folder)
    temporary = filesystems.FileSystems.join(
        folder, f".{name}.{uuid.uuid4().hex}"
    )
    with _create(temporary) as target:
        for _, part in sorted(parts):
            with filesystems.FileSystems.open(
                part, compression_type=_UNCOMPRESSED
            ) as source:
                _copy(source, target)
    filesystems.FileSystems.rename([temporary], [path])
    return path


def _create(path):
    return filesystems.FileSystems.create(path, compression_type=_UNCOMPRESSED)


def _copy(source, target):
    while data := source.read(_COPY_BYTES):
        target.write(data)


def _write_counts(counts, folder):
    path = filesystems.FileSystems.join(folder, _COUNTS)
    with _create(path) as stream:
        stream.write(json.dumps(counts).encode())


def _read_counts(folder):
    """Returns the counts by data set and name."""
    path = filesystems.FileSystems.join(folder, _COUNTS)
    with filesystems.FileSystems.open(path) as stream:
        counts = json.loads(stream.read())
    result = collections.defaultdict(collections.Counter)
    for (group, name), count in counts:
        result[group][name] = count
    return result


def _message(error):
    """Returns what a step of the pipeline said, without the pipeline."""
    text = str(error)
    messages = _ERROR.findall(text)
    return _STEP.sub("", messages[-1] if messages else text)
