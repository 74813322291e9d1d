"""Fixtures: a private adb server, fake devices and tiny models."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import fake_adbd
import pytest
import tiny_bert

_ADB_SECS = 30


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory):
    """Path of adb, with a server of its own that leaves the user's alone."""
    executable = shutil.which("adb")
    if not executable:
        pytest.skip("no adb on PATH (Debian: apt-get install adb)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("adb_home")
    variables = {
        "ANDROID_ADB_SERVER_PORT": str(port),
        # The server writes its keys and its log here.
        "HOME": str(home),
        "TMPDIR": str(home),
        # No search for emulators on this machine's ports.
        "ADB_LOCAL_TRANSPORT_MAX_PORT": "5553",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.delenv("ANDROID_SERIAL", raising=False)
        patch.delenv("ADB", raising=False)
        _adb(executable, "start-server")
        try:
            listing = _adb(executable, "devices").strip().splitlines()
            if len(listing) > 1:
                pytest.skip(f"a real device is attached: {listing[1:]}")
            yield executable
        finally:
            _adb(executable, "kill-server")


@pytest.fixture
def connect(adb_server, tmp_path):
    """A function that makes a connected fake device."""
    with contextlib.ExitStack() as stack:
        made = []

        def make(**attributes):
            root = tmp_path / f"device{len(made)}"
            device = fake_adbd.FakeDevice(root)
            for name, value in attributes.items():
                setattr(device, name, value)
            stack.enter_context(device)
            made.append(device)
            _adb(adb_server, "connect", device.serial)
            return device

        yield make
        for device in made:
            # Ends the loop on the device, which outlives a killed run.
            for lease in device.folder.rglob("lease"):
                lease.unlink()
            _adb(adb_server, "disconnect", device.serial)


@pytest.fixture
def reconnect(adb_server):
    """A function that connects a device that went away."""

    def again(device):
        _adb(adb_server, "disconnect", device.serial)
        _adb(adb_server, "connect", device.serial)

    return again


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Paths of two models, one of them ten times the work."""
    folder = tmp_path_factory.mktemp("models")
    small, large = folder / "small.tflite", folder / "large.tflite"
    tiny_bert.write(small, vocab_size=50, length=32, width=64)
    tiny_bert.write(large, vocab_size=70, length=128, width=512)
    return str(small), str(large)


@pytest.fixture(scope="session")
def device_binary(tmp_path_factory):
    """Path of a benchmark_model that the fake device can run."""
    source = pathlib.Path(__file__).with_name("device_benchmark_model.py")
    path = tmp_path_factory.mktemp("binary") / "benchmark_model"
    path.write_text(f"#!{sys.executable}\n{source.read_text()}")
    return str(path)


@pytest.fixture(scope="session")
def quick_tool(tmp_path_factory):
    """Path of a benchmark_model that prints without measuring."""
    path = tmp_path_factory.mktemp("quick") / "benchmark_model"
    shutil.copy(pathlib.Path(__file__).with_name("quick_tool.sh"), path)
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="session")
def captured_logs():
    """Folder of captured output of real benchmark_model builds."""
    default = pathlib.Path(__file__).parents[2] / "../shared/data"
    data = pathlib.Path(os.environ.get("MOBILEBERT_DATA", default))
    folder = data / "benchmark_model_logs"
    if not folder.is_dir():
        pytest.skip(f"no captured output in {folder}: set MOBILEBERT_DATA")
    return folder


def _adb(executable, *arguments):
    done = subprocess.run(
        [executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_ADB_SECS,
        check=False,
    )
    return done.stdout
