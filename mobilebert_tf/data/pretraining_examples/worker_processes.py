"""Runs independent steps in several processes of this machine."""

import concurrent.futures
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures import process as process_pool

import tensorflow as tf

from mobilebert_tf import cli

# In a worker: the state, set once when it starts.
_worker_state = []


def available_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


class WorkerProcesses:
    """Processes that compute a function of a state which all of them have.

    With one worker everything runs in this process. Use as a context; leaving
    it with an error, or the end of this process for whatever reason, ends the
    workers at once.
    """

    def __init__(self, num_workers: int, state: object):
        """Starts the workers.

        Args:
            num_workers: at least 1.
            state: first argument of every call; pickled once per worker.
        """
        self._state = state
        self._executor = None
        if num_workers == 1:
            return
        # TensorFlow does not survive a fork.
        context = multiprocessing.get_context("spawn")
        # Workers wait for the end of a pipe that only this process can close.
        self._reader, self._lifeline = context.Pipe(duplex=False)
        self._executor = concurrent.futures.ProcessPoolExecutor(
            num_workers,
            context,
            initializer=_start_worker,
            initargs=(self._reader, pickle.dumps(state)),
        )

    def run(
        self, function: Callable[..., object], calls: Iterable[tuple]
    ) -> Iterator[object]:
        """Yields function(state, *call) of each call, as they finish.

        Args:
            function: of a module.
            calls: further arguments of each call.

        Raises:
            OSError: if a worker ends without a result, or `function` raises
                it or a TensorFlow error.
            ValueError: if `function` raises it.
        """
        if self._executor is None:
            yield from (
                _one_line(function, self._state, call) for call in calls
            )
            return
        futures = [
            self._executor.submit(_call, function, call) for call in calls
        ]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except process_pool.BrokenProcessPool:
            raise ChildProcessError(
                "a worker process ended suddenly (killed, or out of memory?); "
                "the same command continues, with fewer --num_workers if need "
                "be"
            ) from None

    def __enter__(self):
        return self

    def __exit__(self, error_type, error, traceback):
        if self._executor is None:
            return
        if error_type is not None:
            self._lifeline.close()
        self._executor.shutdown(cancel_futures=True)
        self._lifeline.close()
        self._reader.close()


def _start_worker(lifeline, state):
    # Ctrl-C is for the main process, which then ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    _worker_state.append(pickle.loads(state))


def _end_with(lifeline):
    try:
        lifeline.recv()
    except EOFError:
        os._exit(1)


def _call(function, call):
    return _one_line(function, _worker_state[0], call)


def _one_line(function, state, call):
    """Calls; an error of TensorFlow, of its file system, becomes OSError."""
    try:
        return function(state, *call)
    except tf.errors.OpError as error:
        raise OSError(cli.one_line(error)) from error
