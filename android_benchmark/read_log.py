"""Prints what a saved output of benchmark_model measured, as JSON.

    adb logcat -d -s tflite > run.txt
    python android_benchmark/read_log.py --log=run.txt
    python android_benchmark/read_log.py --result_proto=result.pb
    python android_benchmark/read_log.py --op_profile=profile.csv

For output that was made elsewhere: by hand, on another machine, or by the
benchmark app, which prints to logcat. What speaks against a result is an
error here too.
"""

import dataclasses
import json
from collections.abc import Sequence

from absl import flags

from android_benchmark import op_profile
from android_benchmark import result_proto
from android_benchmark import tool_output
from mobilebert_tf import cli
from mobilebert_tf import files

_LOG = flags.DEFINE_string("log", None, "What it printed, or its logcat lines.")
_RESULT_PROTO = flags.DEFINE_string(
    "result_proto", None, "File of its --result_file_path."
)
_OP_PROFILE = flags.DEFINE_string(
    "op_profile", None, "File of its --op_profiling_output_mode=csv."
)


def main(_: Sequence[str]) -> None:
    """Reads the one file that is given.

    Raises:
        ValueError: if not one is given, or it holds no complete measurement.
    """
    given = [f for f in (_LOG, _RESULT_PROTO, _OP_PROFILE) if f.value]
    if len(given) != 1:
        raise ValueError(
            "expected one of --log, --result_proto and --op_profile, got "
            f"{len(given)}"
        )
    (flag,) = given
    data = files.read_bytes(files.require_file(flag.value, flag.name))
    try:
        found = _read(flag, data)
    except ValueError as error:
        raise ValueError(f"{flag.value}: {error}") from error
    print(json.dumps(dataclasses.asdict(found), indent=2))


def _read(flag, data):
    if flag is _RESULT_PROTO:
        return result_proto.parse(data)
    text = data.decode("utf-8", errors="replace")
    if flag is _OP_PROFILE:
        return op_profile.read_csv(text)
    return tool_output.read(text)


if __name__ == "__main__":
    cli.run(main)
