"""A run killed at any moment goes on as if nothing had happened."""

import glob
import os
import pathlib
import random
import re
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.training import pretraining
from mobilebert_tf.training import run_checkpoints
from mobilebert_tf.training import training_log
from mobilebert_tf.training import training_loop
from tests.training import conftest
from tests.training import processes


class _Model(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.zeros([100]))


class _Run:
    """A run without a network: `advance` updates, and saves if it is time."""

    def __init__(self, folder, stage="a", first_step=0, interval=2, keep=3):
        self.step = tf.Variable(0, dtype=tf.int64)
        self.model = _Model()
        self.manager = run_checkpoints.CheckpointManager(
            tf.train.Checkpoint(
                model=self.model,
                global_step=self.step,
                **{f"optimizer_{stage}": tf.Variable(0.0)},
            ),
            str(folder),
            str(folder),
            interval,
            keep,
            self.step,
            f"optimizer_{stage}",
            first_step,
        )
        self.manager.restore_or_initialize()

    def advance(self, steps):
        for _ in range(steps):
            self.step.assign_add(1)
            self.model.weights.assign_add(tf.ones([100]))
            self.manager.save(checkpoint_number=self.step)
        return self


def _numbers(folder):
    """Returns the steps of the checkpoints that there are files of."""
    names = glob.glob(os.path.join(folder, "ckpt-*"))
    return sorted({int(re.search(r"ckpt-(\d+)", name)[1]) for name in names})


def _cut(path):
    with open(path, "r+b") as stream:
        stream.truncate(os.path.getsize(path) // 2)


def _flip(path):
    with open(path, "r+b") as stream:
        content = bytearray(stream.read())
        content[20] ^= 1
        stream.seek(0)
        stream.write(content)


def _data(step):
    return f"ckpt-{step}.data-00000-of-00001"


def _being_written(folder):
    """Before the data are moved in place."""
    os.mkdir(folder / "ckpt-10_temp")
    (folder / "ckpt-10_temp" / "part-00000-of-00001.index").write_text("")
    (folder / "checkpoint.tmp0123").write_text("model_checkp")


def _data_without_index(folder):
    shutil.copy(folder / _data(8), folder / _data(10))


def _index_cut(folder):
    _data_without_index(folder)
    shutil.copy(folder / "ckpt-8.index", folder / "ckpt-10.index")
    _cut(folder / "ckpt-10.index")


def _not_named_yet(folder):
    """`checkpoint` is the last to be written."""
    state = (folder / "checkpoint").read_bytes()
    _Run(folder).advance(2)
    (folder / "checkpoint").write_bytes(state)


def _half_deleted(folder):
    os.remove(folder / "ckpt-4.index")


def _state_lost(folder):
    os.remove(folder / "checkpoint")


def _state_torn(folder):
    _cut(folder / "checkpoint")


def _state_empty(folder):
    (folder / "checkpoint").write_text("")


def _newest_index_cut(folder):
    _cut(folder / "ckpt-8.index")


def _newest_index_empty(folder):
    (folder / "ckpt-8.index").write_bytes(b"")


def _newest_data_cut(folder):
    _cut(folder / _data(8))


def _newest_data_flipped(folder):
    _flip(folder / _data(8))


def _newest_data_lost(folder):
    os.remove(folder / _data(8))


def _state_torn_and_newest_cut(folder):
    _state_torn(folder)
    _newest_data_cut(folder)


@pytest.mark.parametrize(
    "damage, step",
    [
        (_being_written, 8),
        (_data_without_index, 8),
        (_index_cut, 8),
        (_not_named_yet, 8),
        (_half_deleted, 8),
        (_state_lost, 8),
        (_state_torn, 8),
        (_state_empty, 8),
        (_newest_index_cut, 6),
        (_newest_index_empty, 6),
        (_newest_data_cut, 6),
        (_newest_data_flipped, 6),
        (_newest_data_lost, 6),
        (_state_torn_and_newest_cut, 6),
    ],
)
def test_what_a_kill_leaves_is_made_good(tmp_path, damage, step):
    folder = tmp_path
    _Run(folder).advance(9)
    assert _numbers(folder) == [4, 6, 8]
    damage(folder)
    run_checkpoints.repair(str(folder))
    assert training_loop.saved_step(str(folder)) == step
    run = _Run(folder)
    np.testing.assert_array_equal(run.model.weights, np.full(100, step))
    run.advance(14 - step)
    # Kept by the same policy, and nothing else is left.
    assert _numbers(folder) == [10, 12, 14]
    left = {os.path.basename(path) for path in glob.glob(f"{folder}/*")}
    assert len(left) == 7, left
    assert _Run(folder).step == 14


@pytest.mark.parametrize("partial", [_being_written, _data_without_index])
def test_a_first_checkpoint_cut_short_is_a_fresh_start(tmp_path, partial):
    folder = tmp_path
    shutil.copytree(_other(tmp_path), folder, dirs_exist_ok=True)
    partial(folder)
    for path in glob.glob(f"{folder}/ckpt-8*"):
        os.remove(path)
    run_checkpoints.repair(str(folder))
    assert _numbers(folder) == []
    assert training_loop.saved_step(str(folder)) == 0


def _other(tmp_path):
    """Returns a folder with ckpt-8 and no file `checkpoint`."""
    folder = tmp_path.parent / f"{tmp_path.name}_other"
    _Run(folder, interval=8).advance(8)
    os.remove(folder / "checkpoint")
    return folder


def test_no_whole_checkpoint_is_no_fresh_start(tmp_path):
    _Run(tmp_path, keep=1).advance(2)
    newest = tmp_path / _data(2)
    _cut(newest)
    with pytest.raises(ValueError, match="ckpt-2 is damaged and there is no"):
        run_checkpoints.repair(str(tmp_path))
    _state_torn(tmp_path)
    with pytest.raises(ValueError, match="checkpoint is damaged"):
        run_checkpoints.repair(str(tmp_path))
    assert newest.exists()


def test_a_whole_folder_stays_as_it_is(tmp_path):
    _Run(tmp_path).advance(8)
    before = {
        path: os.stat(path).st_mtime_ns for path in glob.glob(f"{tmp_path}/*")
    }
    run_checkpoints.repair(str(tmp_path))
    after = {
        path: os.stat(path).st_mtime_ns for path in glob.glob(f"{tmp_path}/*")
    }
    assert after == before


@pytest.mark.parametrize("kill_after", range(1, 10))
def test_checkpoints_fall_at_multiples_whenever_killed(tmp_path, kill_after):
    _Run(tmp_path, interval=3, keep=9).advance(kill_after)
    run = _Run(tmp_path, interval=3, keep=9)
    run.advance(10 - int(run.step.numpy()))
    run.manager.save(checkpoint_number=run.step, check_interval=False)
    assert _numbers(tmp_path) == [3, 6, 9, 10]


def test_state_of_another_stage_is_not_taken_for_ones_own(tmp_path):
    _Run(tmp_path, stage="a").advance(4)
    _Run(tmp_path, stage="b", first_step=4)
    with pytest.raises(ValueError) as error:
        _Run(tmp_path, stage="b", first_step=2)
    assert "got the optimizer state optimizer_a, expected optimizer_b" in str(
        error.value
    )


@pytest.mark.parametrize("name", ["write_text", "copy"])
def test_a_kill_between_the_first_files_of_a_folder(
    workspace, tmp_path, monkeypatch, name
):
    """Configuration, vocabulary and use are written one by one."""
    network = config_lib.MobileBertConfig.from_json_file(workspace.student)
    info = model_directory.ModelInfo(model_directory.PRETRAINING, 24)
    folder = str(tmp_path)

    def killed(*args):
        raise KeyboardInterrupt(args)

    with monkeypatch.context() as context:
        context.setattr(files, name, killed)
        with pytest.raises(KeyboardInterrupt):
            model_directory.write(folder, network, info, workspace.vocab_file)
    model_directory.write(folder, network, info, workspace.vocab_file)
    assert model_directory.read_config(folder) == network
    assert model_directory.read_info(folder) == info


def test_a_wrong_record_met_in_a_run_is_named(workspace, tmp_path, monkeypatch):
    """The last of a file: the check before the run sees the first alone."""
    path = str(tmp_path / "records")
    records = [r.numpy() for r in tf.data.TFRecordDataset(workspace.records)]
    last = tf.train.Example.FromString(records[-1])
    last.features.feature["input_mask"].int64_list.value.pop()
    with tf.io.TFRecordWriter(path) as writer:
        for record in [*records[:-1], last.SerializeToString()]:
            writer.write(record)

    def read(params, stages, make_task, *args):
        data = params.task.train_data
        list(make_task(stages[0], 0).build_inputs(data).take(len(records)))

    monkeypatch.setattr(training_loop, "run_stages", read)
    params = conftest.pretraining_params(
        workspace,
        workspace.student,
        train_steps=3,
        **{"task.train_data.input_path": path},
    )
    with pytest.raises(ValueError) as error:
        pretraining.run(params, str(tmp_path / "run"), train=True)
    assert str(error.value) == (
        f"{path}: record {len(records) - 1}: input_mask: got length "
        f"{conftest.SEQUENCE_LENGTH - 1}, expected {conftest.SEQUENCE_LENGTH}"
    )


def _params(workspace, teacher_dir, **overrides):
    return conftest.pretraining_params(
        workspace,
        workspace.student,
        train_steps=4,
        **{
            "task.teacher_dir": teacher_dir,
            "task.train_data.global_batch_size": 5,
            "trainer.max_to_keep": 20,
            **overrides,
        },
    )


def _assert_same(folder, other):
    """Bit for bit."""
    assert processes.losses(folder) == processes.losses(other)
    got, expected = processes.variables(folder), processes.variables(other)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


@pytest.fixture(scope="module", name="whole_dir")
def _whole_dir(workspace, teacher_dir):
    """A run of 12 steps in 3 stages that nobody killed."""
    folder = str(workspace.folder / "never_killed")
    pretraining.run(_params(workspace, teacher_dir), folder, train=True)
    return folder


def _as_killed(whole_dir, folder, step):
    """Copies a run as it was after the checkpoint of `step`."""
    shutil.copytree(whole_dir, folder)
    for path in glob.glob(f"{folder}/ckpt-*"):
        if int(re.search(r"ckpt-(\d+)", path)[1]) > step:
            os.remove(path)
    os.remove(folder / "checkpoint")
    path = folder / training_log.METRICS_FILE
    rows = path.read_text().splitlines(keepends=True)
    kept = [
        row
        for row in rows
        if re.search(rf'"train".*"step": {step},', row) is None
        and int(re.search(r'"step": (\d+)', row)[1]) <= step
        and "validation" not in row
    ]
    path.write_text("".join(kept) + rows[-1][:30])


def test_killed_between_checkpoint_and_evaluation_of_a_stage(
    workspace, teacher_dir, whole_dir, tmp_path
):
    """At the boundary of two stages, with the next save cut short."""
    folder = tmp_path / "killed"
    _as_killed(whole_dir, folder, step=8)
    shutil.copy(folder / _data(8), folder / _data(10))
    before = {
        key: row
        for key, row in processes.losses(whole_dir).items()
        if key[0] == "train" or key[1] >= 8
    }
    pretraining.run(_params(workspace, teacher_dir), str(folder), train=True)
    after = processes.losses(str(folder))
    assert ("validation", 8) in after
    for key, row in after.items():
        assert row == before[key], key
    got = processes.variables(str(folder))
    for name, value in processes.variables(whole_dir).items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)


def _kill_when(process, log, folder, condition, delay=0.0):
    deadline = time.monotonic() + 900
    while not condition(folder):
        assert process.poll() is None, pathlib.Path(log).read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.wait()


def test_kill_minus_nine(workspace, teacher_dir, whole_dir, tmp_path):
    """Inside the first stage; the rest is done by this process."""
    folder, log = str(tmp_path / "killed"), str(tmp_path / "log")
    params = _params(workspace, teacher_dir)
    process = processes.start(params, folder, log)
    _kill_when(
        process,
        log,
        folder,
        lambda folder: os.path.exists(os.path.join(folder, "checkpoint")),
    )
    assert 2 <= training_loop.saved_step(folder) < 12
    pretraining.run(params, folder, train=True)
    _assert_same(folder, whole_dir)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kills_while_saving(workspace, teacher_dir, whole_dir, tmp_path, seed):
    """Three kills, each within 30 ms of the first file of a checkpoint."""
    rng = random.Random(seed)
    folder, log = str(tmp_path / "killed"), str(tmp_path / "log")
    params = _params(workspace, teacher_dir)
    for step in sorted(rng.sample(range(2, 14, 2), 3)):
        process = processes.start(params, folder, log)
        pattern = os.path.join(folder, f"ckpt-{step}*")
        _kill_when(
            process,
            log,
            folder,
            lambda _, pattern=pattern: glob.glob(pattern),
            delay=rng.uniform(0.0, 0.03),
        )
    pretraining.run(params, folder, train=True)
    _assert_same(folder, whole_dir)
