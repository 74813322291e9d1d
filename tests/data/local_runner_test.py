"""Runs in steps: equal bytes however they are cut, resumed or spread."""

import collections
import contextlib
import dataclasses
import os
import pathlib

import pytest
import tensorflow as tf

from mobilebert_tf.data import corpus as corpus_lib
from mobilebert_tf.data import masking
from mobilebert_tf.data import pretraining_builder as builder
from mobilebert_tf.data import text
from mobilebert_tf.data.pretraining_examples import local_runner
from mobilebert_tf.data.pretraining_examples import shuffling
from mobilebert_tf.data.pretraining_examples import stages
from mobilebert_tf.data.pretraining_examples import text_slices
from mobilebert_tf.data.pretraining_examples import work_folder

_OPTIONS = builder.BuilderOptions(
    masking=masking.MaskingOptions(
        max_seq_length=32, max_predictions_per_seq=6
    ),
    dupe_factor=2,
)


@pytest.fixture(name="job")
def _job(text_file, vocab_file):
    """Several slices in each of three pieces, a tenth held out."""
    size = os.path.getsize(text_file)
    slices = text_slices.cut([text_file], text.AUTO, size // 8, size // 3)
    assert slices[-1].piece == 2
    vocabulary = pathlib.Path(vocab_file).read_bytes()
    return stages.Job(tuple(slices), vocabulary, True, _OPTIONS, 0.1)


@pytest.fixture(autouse=True)
def _small_buckets(monkeypatch):
    monkeypatch.setattr(shuffling, "BUCKET_BYTES", 2**17)


def _outputs(folder, num_shards=3):
    return {
        builder.TRAINING: builder.shard_paths(f"{folder}/train", num_shards),
        builder.HELD_OUT: [f"{folder}/eval"],
    }


def _run(job, folder, num_workers=1, num_shards=3):
    """Runs a job into a folder; returns its counts and statistics."""
    results = work_folder.WorkFolder(f"{folder}/train.work")
    with results.open(job):
        return local_runner.run(
            job, _outputs(folder, num_shards), results, num_workers
        )


def _bytes(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


def _records(paths):
    return [record.numpy() for record in tf.data.TFRecordDataset(paths)]


def test_worker_processes_do_not_change_the_files(tmp_path, job):
    folders = [tmp_path / name for name in ("one", "two")]
    for num_workers, folder in enumerate(folders, 1):
        folder.mkdir()
        counts, statistics = _run(job, folder, num_workers)
        assert counts["documents"] == 150
        paths = _outputs(folder)
        for split in job.splits:
            records = _records(paths[split])
            assert len(records) == statistics[split].instances
            assert len(set(records)) > 0.99 * len(records)
    assert _bytes(folders[0]) == _bytes(folders[1])
    assert len(_bytes(folders[0])) == 4


def test_shards_are_one_order(tmp_path, job):
    for num_shards in (1, 7):
        (tmp_path / str(num_shards)).mkdir()
        _run(job, tmp_path / str(num_shards), num_shards=num_shards)
    one, seven = (
        _records(_outputs(tmp_path / str(n), n)[builder.TRAINING])
        for n in (1, 7)
    )
    assert one == seven


def test_one_piece_equals_the_build_in_memory(tmp_path, job, tokenizer):
    """A text smaller than a piece is treated as BERT's script does."""
    slices = [dataclasses.replace(part, piece=0) for part in job.slices]
    job = dataclasses.replace(job, slices=tuple(slices), held_out_fraction=0.0)
    _run(job, tmp_path)
    documents = text.read_documents(job.slices[0].spans[0].path)
    paths = builder.shard_paths(str(tmp_path / "memory"), 3)
    builder.build(
        corpus_lib.tokenize(documents, tokenizer), tokenizer, _OPTIONS, paths
    )
    assert _records(paths) == _records(_outputs(tmp_path)[builder.TRAINING])


def test_random_segments_come_from_the_same_piece(tmp_path, job, tokenizer):
    words = ["ba", "ke", "lo"]
    slices = []
    for piece, word in enumerate(words):
        path = tmp_path / f"{word}.txt"
        document = f"{word} {word} {word}.\n" * 5
        path.write_text("\n".join([document] * 30))
        [part] = text_slices.cut([str(path)], text.SENTENCES)
        slices.append(dataclasses.replace(part, piece=piece))
    options = dataclasses.replace(_OPTIONS, do_masking=False)
    job = dataclasses.replace(
        job, slices=tuple(slices), options=options, held_out_fraction=0.0
    )
    _run(job, tmp_path)
    shared = {
        *(tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id),
        *tokenizer.tokenize(["."]).flat_values.numpy().tolist(),
    }
    of_word = tokenizer.tokenize(words).to_list()
    random_next = collections.Counter()
    for record in _records(_outputs(tmp_path)[builder.TRAINING]):
        feature = tf.train.Example.FromString(record).features.feature
        ids = set(feature["input_ids"].int64_list.value) - shared
        assert sorted(ids) in [sorted(ids_) for ids_ in of_word]
        random_next.update(feature["next_sentence_labels"].int64_list.value)
    assert random_next[0] and random_next[1]


def test_interrupted_run_goes_on(tmp_path, job, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    _run(job, whole)
    calls = collections.Counter()
    finish = work_folder.WorkFolder.finish

    def interrupt(folder, step, counts):
        # Everything is computed, its mark is not yet written.
        calls[step] += 1
        if calls.total() % 4 == 0:
            raise KeyboardInterrupt
        return finish(folder, step, counts)

    monkeypatch.setattr(work_folder.WorkFolder, "finish", interrupt)
    for _ in range(100):
        with contextlib.suppress(KeyboardInterrupt):
            _run(job, parts)
            break
        for name, data in _bytes(parts).items():
            assert data == (whole / name).read_bytes()
    assert _bytes(parts) == _bytes(whole)
    # Only the step that was interrupted was done again.
    del calls["job"]
    assert calls.total() <= 2 * len(calls)
    assert max(calls.values()) <= 2


def test_work_of_other_options_is_dropped(tmp_path, job, monkeypatch, caplog):
    first, second = tmp_path / "first", tmp_path / "second"
    options = dataclasses.replace(_OPTIONS, random_seed=1)
    other = dataclasses.replace(job, options=options)
    for folder in (first, second):
        folder.mkdir()
    _run(other, first)
    _run(job, second)
    assert _bytes(first) != _bytes(second)
    assert "starting anew" not in caplog.text
    _run(other, second)
    assert "starting anew" in caplog.text
    assert _bytes(first) == _bytes(second)


def test_folder_is_locked_and_not_of_others(tmp_path, job):
    folder = work_folder.WorkFolder(str(tmp_path / "x.work"))
    with folder.open(job):
        with pytest.raises(ValueError, match="another process is writing"):
            with work_folder.WorkFolder(folder.path).open(job):
                pass
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="a folder of other files"):
        with work_folder.WorkFolder(str(other)).open(job):
            pass
    assert (other / "notes.txt").read_text() == "mine"


def test_folder_remains_unless_the_job_is_impossible(tmp_path, job):
    folder = work_folder.WorkFolder(str(tmp_path / "x.work"))
    for error, remains in ((OSError("disk full"), True), (ValueError(), False)):
        with pytest.raises(type(error)):
            with folder.open(job):
                folder.finish("step", {"tokens": 1})
                raise error
        assert os.path.exists(folder.path) == remains


def test_held_out_documents_are_not_trained_on(tmp_path, job):
    options = dataclasses.replace(_OPTIONS, do_masking=False, dupe_factor=1)
    job = dataclasses.replace(job, options=options)
    _, statistics = _run(job, tmp_path)
    share = statistics[builder.HELD_OUT].instances / (
        statistics[builder.TRAINING].instances
        + statistics[builder.HELD_OUT].instances
    )
    assert 0.08 < share < 0.15
    corpora = [stages.tokenize(job, index) for index in range(len(job.slices))]
    for piece in range(3):
        parts = [
            corpus
            for corpus, part in zip(corpora, job.slices, strict=True)
            if part.piece == piece
        ]
        split = stages.split(job, piece, parts)
        whole = corpus_lib.concatenate(parts)
        kept, held_out = split[builder.TRAINING], split[builder.HELD_OUT]
        assert len(kept.tokens) + len(held_out.tokens) == len(whole.tokens)
        assert 0 < held_out.num_documents < kept.num_documents


def test_single_documents_are_kept(tmp_path, job, caplog):
    piece = stages.tokenize(job, 0).select([0])
    kept = stages.split(job, 1, [piece])
    assert kept[builder.TRAINING].num_documents == 1
    assert kept[builder.HELD_OUT].num_documents == 0
    assert "is a single document" in caplog.text
    alone = dataclasses.replace(job, slices=job.slices[:1])
    with pytest.raises(ValueError, match="got 1 document"):
        stages.split(alone, 0, [piece])


def test_default_number_of_workers(job):
    assert local_runner.default_workers(job) == 1
    span = text_slices.Span("x", text.SENTENCES, 0, 10**12)
    large = dataclasses.replace(job, slices=(text_slices.Slice((span,), 0),))
    cores = len(os.sched_getaffinity(0))
    assert local_runner.default_workers(large) == cores
