"""Checkpoints of a run: when, how many, and what a kill leaves of them.

TensorFlow writes a checkpoint's data to a temporary folder, moves them to
ckpt-N.data-*, writes ckpt-N.index, and then replaces the file `checkpoint`,
which names the newest one and those to delete in time. A kill can fall between
any two of these, or a power cut within one. What `checkpoint` names is whole
unless a disk failed; what it does not name yet is written again, alike.
"""

import contextlib
import glob
import os
import re
import shutil
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from mobilebert_tf import model_directory

NAME = "ckpt"

_STATE_FILE = "checkpoint"
_PREFIX = re.compile(rf"(.*/{NAME}-(\d+))\.(index|data-\d+-of-\d+)$")


class CheckpointManager(tf.train.CheckpointManager):
    """Saves at multiples of an interval; restores the model whole.

    With several workers each has one. They all restore from the run's folder
    and save to a folder of their own, which is the run's for the chief.

    Args:
        checkpoint: items `model`, `global_step` and the optimizer's.
        model_dir: folder of the run, to restore from.
        output_dir: folder to save to.
        interval: int. A checkpoint is saved when the step reaches or passes a
            multiple of it, wherever the run was interrupted, besides when one
            is asked for.
        max_to_keep: int or None. The newest to keep; None keeps all.
        step_counter: variable of the global step.
        optimizer_item: name of the item that must be in a checkpoint of a
            step after `first_step`; earlier ones hold another stage's. None
            does without.
        first_step: int.
        init_fn: called if there is no checkpoint.
    """

    def __init__(
        self,
        checkpoint: tf.train.Checkpoint,
        model_dir: str,
        output_dir: str,
        interval: int,
        max_to_keep: int | None,
        step_counter: tf.Variable,
        optimizer_item: str | None = None,
        first_step: int = 0,
        init_fn: Callable[[], None] | None = None,
    ):
        super().__init__(
            checkpoint,
            output_dir,
            max_to_keep,
            checkpoint_name=NAME,
            step_counter=step_counter,
            checkpoint_interval=interval,
            init_fn=init_fn,
        )
        self._model_dir = model_dir
        self._optimizer_item = optimizer_item
        self._first_step = first_step
        self._saved_step = 0

    def save(self, checkpoint_number=None, check_interval=True, options=None):
        step = int(self._step_counter.numpy())
        interval = self.checkpoint_interval
        is_due = step // interval > self._saved_step // interval
        if step == self._saved_step or (check_interval and not is_due):
            return None
        path = super().save(checkpoint_number, False, options)
        self._saved_step = step
        return path

    def restore_or_initialize(self):
        path = model_directory.find_checkpoint(self._model_dir)
        if path is None:
            if self._init_fn is not None:
                self._init_fn()
            return None
        model_directory.restore(self.checkpoint.model, path)
        status = self.checkpoint.restore(path)
        status.expect_partial()  # Another stage's optimizer state is left.
        self._saved_step = int(self._step_counter.numpy())
        if self._optimizer_item and self._saved_step > self._first_step:
            self._check_optimizer(path)
        return path

    def _check_optimizer(self, path):
        items = {
            name.partition("/")[0] for name, _ in tf.train.list_variables(path)
        }
        if self._optimizer_item not in items:
            others = sorted(item for item in items if "optimizer" in item)
            raise ValueError(
                f"{path}: got the optimizer state {', '.join(others) or '-'}, "
                f"expected {self._optimizer_item}: the run had other stages; "
                "choose another --model_dir"
            )


def repair(model_dir: str) -> None:
    """Makes good what a kill or a power cut has left half done.

    Temporary files are removed. If `checkpoint` cannot be read or names a
    checkpoint that is not whole, it is made to name the newest whole one; so
    no step is lost but those since. A first checkpoint that is not whole is
    removed.

    Reads the newest checkpoint to verify its checksums. To be called by one
    process, before it trains.

    Raises:
        ValueError: if there have been checkpoints and none is whole: to start
            over would overwrite them.
    """
    folder = glob.escape(model_dir)
    for path in glob.glob(os.path.join(folder, f"{NAME}-*_temp*")):
        shutil.rmtree(path, ignore_errors=True)
    for path in glob.glob(os.path.join(folder, f"{_STATE_FILE}.tmp*")):
        os.remove(path)
    named = _named_checkpoint(model_dir)
    if named is not None and _is_whole(named):
        return
    prefixes = _prefixes(model_dir)
    for position, prefix in enumerate(prefixes):
        if _is_whole(prefix):
            logging.warning(
                "%s: %s; going on from %s",
                model_dir,
                f"{os.path.basename(named)} is not whole"
                if named
                else f"the file `{_STATE_FILE}` is missing or torn",
                os.path.basename(prefix),
            )
            _write_state(model_dir, prefixes[position:])
            return
    if os.path.exists(os.path.join(model_dir, _STATE_FILE)):
        raise ValueError(
            f"{model_dir}: {os.path.basename(named or _STATE_FILE)} is damaged "
            "and there is no whole checkpoint; restore one, or choose another "
            "--model_dir"
        )
    for prefix in prefixes:
        logging.warning("removing %s, which is not whole", prefix)
        for path in glob.glob(f"{glob.escape(prefix)}.*"):
            os.remove(path)


def _named_checkpoint(model_dir):
    """Returns the prefix that the file `checkpoint` names, or None."""
    with contextlib.suppress(ValueError):
        state = tf.train.get_checkpoint_state(model_dir)
        if state is not None:
            return state.model_checkpoint_path
    return None


def _prefixes(model_dir):
    """Returns the prefixes of all checkpoints, newest first."""
    found = {}
    for path in glob.glob(os.path.join(glob.escape(model_dir), f"{NAME}-*")):
        match = _PREFIX.match(os.path.abspath(path))
        if match:
            found[int(match[2])] = match[1]
    return [found[number] for number in sorted(found, reverse=True)]


def _is_whole(prefix):
    """Returns whether all tensors can be read and have their checksums."""
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    # A file that ends too early is an IndexError.
    except (IndexError, ValueError, RuntimeError, tf.errors.OpError):
        return False
    return True


def _write_state(model_dir, newest_first):
    """Writes the file `checkpoint`; older checkpoints are deleted in time."""
    oldest_first = newest_first[::-1]
    times = [
        max(map(os.path.getmtime, glob.glob(f"{glob.escape(prefix)}.*")))
        for prefix in oldest_first
    ]
    names = [os.path.basename(prefix) for prefix in oldest_first]
    tf.compat.v1.train.update_checkpoint_state(
        os.path.abspath(model_dir),
        names[-1],
        all_model_checkpoint_paths=names,
        all_model_checkpoint_timestamps=times,
        # Those from before are never deleted.
        last_preserved_timestamp=min(times) - 1.0,
    )
