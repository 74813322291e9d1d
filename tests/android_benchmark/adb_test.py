"""The adb client: device choice, exit codes, lost devices."""

import re

import pytest

from android_benchmark import adb


@pytest.fixture
def client(adb_server):
    return adb.Adb(adb_server)


@pytest.fixture
def listing(tmp_path):
    """A function that makes a client whose `adb devices` prints a text."""

    def make(text):
        script = tmp_path / "adb"
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        script.chmod(0o755)
        return adb.Adb(str(script))

    return make


def test_no_device_says_what_to_do(client):
    with pytest.raises(adb.AdbError, match="no Android device.*--device=host"):
        client.select(None)


def test_two_devices_need_a_serial(connect, client):
    first, second = connect(), connect()
    with pytest.raises(adb.AdbError, match="2 devices.*--device=SERIAL") as e:
        client.select(None)
    assert first.serial in str(e.value) and second.serial in str(e.value)
    assert client.select(second.serial).serial == second.serial
    with pytest.raises(adb.AdbError, match=f"nosuch.*{first.serial}"):
        client.select("nosuch")


def test_unauthorized_device_says_what_to_do(connect, client):
    device = connect(authorized=False)
    with pytest.raises(adb.AdbError, match="'unauthorized'.*accept 'Allow"):
        client.select(device.serial)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("offline", "'offline'.*reconnect"),
        ("no permissions (user in plugdev; see [url])", "udev"),
        ("recovery", "'recovery'.*Android"),
    ],
)
def test_other_states(listing, state, message):
    client = listing(f"List of devices attached\nR58 M\t{state}\n")
    with pytest.raises(adb.AdbError, match=message):
        client.select(None)


@pytest.mark.parametrize("shell_v2", [True, False])
@pytest.mark.parametrize("code", [0, 1, 3, 127])
def test_exit_codes_are_true(connect, client, shell_v2, code):
    device = connect(shell_v2=shell_v2)
    done = client.select(device.serial).shell(f"echo out; exit {code}", 20)
    assert (done.stdout, done.returncode) == ("out\n", code)


def test_stderr_is_apart_and_text_survives(connect, client):
    device = connect()
    done = client.select(device.serial).shell("printf 'ü no end'; ls /nope", 20)
    assert done.stdout == "ü no end"
    assert "/nope" in done.stderr and done.returncode != 0


def test_disconnect_is_never_a_result(connect, client):
    device = connect(drop_marker=b"half")
    selected = client.select(device.serial)
    with pytest.raises(adb.DeviceLostError, match="went away.*incomplete"):
        selected.shell("echo half; sleep 0.2; echo other half", 20)


def test_timeout_names_the_device(connect, client):
    device = connect()
    selected = client.select(device.serial)
    with pytest.raises(adb.AdbError, match=f"{device.serial}.*within 1 s"):
        selected.shell("sleep 3", 1)


def test_push_to_a_place_that_does_not_exist(connect, client, tmp_path):
    device = connect()
    local = tmp_path / "file"
    local.write_bytes(b"content")
    selected = client.select(device.serial)
    selected.push(str(local), "/data/local/tmp/file", 20)
    assert (device.folder / "file").read_bytes() == b"content"
    with pytest.raises(adb.AdbError, match="could not push"):
        selected.push(str(local), "/data/local/tmp/no/such/file", 20)


def test_executable_is_looked_up_in_order(tmp_path, monkeypatch):
    def program(name):
        path = tmp_path / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    flag, variable, on_path = program("one"), program("two"), program("adb")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ADB", variable)
    assert adb.find_executable(flag) == flag
    assert adb.find_executable(None) == variable
    monkeypatch.delenv("ADB")
    assert adb.find_executable(None) == on_path
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert adb.find_executable(None) is None
    with pytest.raises(ValueError, match="apt-get install adb.*--device=host"):
        adb.Adb(None)
    with pytest.raises(ValueError, match=re.escape("--adb=/nope")):
        adb.find_executable("/nope")
