"""Start-up shared by every binary: flag parsing, errors as one line.

A mistake of the user (missing file, wrong column, unknown key, ...) is raised
as ValueError or OSError where it is noticed. Here it becomes one line on
stderr and exit status 1. `--v=1` shows the Python traceback as well.
This module must not import TensorFlow: it also starts binaries that do
without.
"""

import sys
import traceback
from collections.abc import Callable
from collections.abc import Sequence

from absl import app
from absl import flags
from absl import logging


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Runs `main(argv)` with parsed flags; never returns.

    Args:
        main: called with the arguments left over after flag parsing.

    Raises:
        SystemExit: always. Status 0 after success, 1 after an error of the
            user, 130 after Ctrl-C.
    """
    app.run(lambda argv: _run_main(main, argv), flags_parser=_parse_flags)


def one_line(error: BaseException) -> str:
    """Returns the message of `error` as a single line.

    TensorFlow wraps what went wrong in op names and stack frames.
    """
    text = str(error).strip() or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.strerror}: {error.filename}"
    if _is_tensorflow_error(error):
        text = _without_frames(text)
    return " ".join(text.split())


def _without_frames(text):
    """Returns what a TensorFlow message says itself.

    An error inside a graph comes as "Graph execution error:", the places
    where the op was made, the message, and then the ops it passed through as
    "[[{{node ...}}]]"; any other as its message and then frames.
    """
    before_nodes = [
        line for line in text.split("[[{{node")[0].splitlines() if line.strip()
    ]
    if before_nodes and text.startswith("Graph execution error"):
        return before_nodes[-1]
    return text.splitlines()[0]


def _run_main(main, argv):
    if len(argv) > 1:
        _fail(f"unexpected argument {argv[1]!r}: flags are --name=value")
    try:
        main(argv)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # pylint: disable=broad-except
        if not _is_user_error(error):
            raise
        if logging.get_verbosity() >= logging.DEBUG:
            traceback.print_exc()
        _fail(one_line(error))


def _is_user_error(error):
    return isinstance(error, ValueError | OSError) or _is_tensorflow_error(
        error
    )


def _is_tensorflow_error(error):
    framework = sys.modules.get("tensorflow")
    return framework is not None and isinstance(error, framework.errors.OpError)


def _fail(message):
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(1)


def _parse_flags(argv):
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(f"{one_line(error)} (--helpshort lists the flags)")
