"""Several devices at once: a process per device, one report of all.

Each process is the same binary with one serial and a folder of its own, so
that a device that drops out stops no other. Ctrl-C is passed on to all of
them, and each undoes its own.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable
from collections.abc import Sequence

from android_benchmark import adb
from android_benchmark import benchmark
from android_benchmark import benchmark_config
from android_benchmark import result_file
from android_benchmark import results
from mobilebert_tf import files

_CONFIG_FILE = "config.json"
_BINARY = os.path.join(os.path.dirname(__file__), "run_benchmark.py")


def serials(
    config: benchmark_config.BenchmarkConfig, progress: Callable[[str], None]
) -> list[str]:
    """Returns the devices to measure; empty if it is not several that are.

    Args:
        config: its `device` is "all" or has commas, or neither.
        progress: is told which attached devices cannot be used.

    Raises:
        ValueError: if one is named twice.
        adb.AdbError: if "all" finds none.
    """
    if config.device == benchmark_config.ALL_ADB:
        client = adb.Adb(adb.find_executable(config.adb))
        usable = client.usable()
        for device in client.devices():
            if device.serial not in usable:
                progress(f"{device.serial}: left out, it is {device.state}")
        if not usable:
            raise adb.AdbError(
                "--device=all: no usable device; `adb devices` lists what is "
                "attached"
            )
        return usable
    named = config.device.split(",")
    if len(set(named)) != len(named):
        raise ValueError(f"--device={config.device}: a device is named twice")
    return named if len(named) > 1 else []


def run(
    config: benchmark_config.BenchmarkConfig,
    devices: Sequence[str],
    progress: Callable[[str], None],
) -> tuple[list[results.Result], list[str]]:
    """Measures on every device at the same time.

    Args:
        config: of each.
        devices: adb serials.
        progress: receives each process's lines with its serial before them.

    Returns:
        The aggregates of all devices, and the devices that lack some.

    Raises:
        ValueError: if there is no folder to write to.
    """
    if not config.output:
        raise ValueError(
            "--output is required for several devices: each has its folder"
        )
    processes = {serial: _start(config, serial) for serial in devices}
    readers = [
        threading.Thread(target=_forward, args=(serial, stream, progress))
        for serial, process in processes.items()
        for stream in (process.stdout, process.stderr)
    ]
    for reader in readers:
        reader.start()
    try:
        for process in processes.values():
            process.wait()
    except BaseException:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            process.wait()
        raise
    finally:
        for reader in readers:
            reader.join()
    aggregates, lacking = [], []
    for serial, process in processes.items():
        aggregates.extend(_aggregates(_folder(config, serial)))
        if process.returncode:
            lacking.append(serial)
    return aggregates, lacking


def _start(config, serial):
    folder = _folder(config, serial)
    own = dataclasses.asdict(
        dataclasses.replace(config, device=serial, output=folder)
    )
    path = os.path.join(folder, _CONFIG_FILE)
    # JSON is YAML.
    files.write_text(path, json.dumps(own, indent=2) + "\n")
    return subprocess.Popen(
        [sys.executable, _BINARY, f"--config_file={path}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        # A terminal's Ctrl-C would reach it as well as this process's signal,
        # and the second would stop it from undoing what it has changed.
        start_new_session=True,
    )


def _folder(config, serial):
    # A serial is any text the device's maker chose.
    return os.path.join(config.output, urllib.parse.quote(serial, safe=":"))


def _forward(serial, stream, progress):
    for line in stream:
        progress(f"{serial}: {line.rstrip()}")


def _aggregates(folder):
    path = os.path.join(folder, benchmark.RESULTS_FILE)
    if not os.path.exists(path):
        return []
    # A resumed run appends: the last one of a combination counts.
    last = {
        result.combination: result
        for result in result_file.read(path)
        if result.record == results.AGGREGATE
    }
    return list(last.values())
