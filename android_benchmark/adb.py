"""The adb client as a subprocess: devices, push, shell with true exit codes.

adb's own exit code cannot be believed: adb 29 ends with 0 and a truncated
output when the device goes away during `shell`, and devices without the
shell_v2 feature never pass a code on. Every shell command therefore ends with
a sentinel line that carries the code; no sentinel means no result.
"""

import dataclasses
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence

_SENTINEL = re.compile(r"__RC=(\d+)\s*\Z")
_QUICK_SECS = 30
_READY = "device"

_ADVICE = {
    "unauthorized": (
        "unlock it and accept 'Allow USB debugging', then run this again"
    ),
    "authorizing": "unlock it and accept 'Allow USB debugging'",
    "offline": "reconnect it, or run `adb reconnect offline`",
    "no permissions": (
        "this user may not use the USB device: install the Android udev "
        "rules, then run `adb kill-server`"
    ),
}
_REASON_ADVICE = {
    "no space left": (
        "free some of /data, or remove what earlier runs pushed with "
        "`adb shell rm -r /data/local/tmp/mobilebert_benchmark`"
    ),
    "read-only file system": "restart the device",
    "permission denied": (
        "files there may belong to another user, e.g. after `adb root`: "
        "remove /data/local/tmp/mobilebert_benchmark as that user"
    ),
    "operation not permitted": (
        "files there may belong to another user, e.g. after `adb root`"
    ),
}
_RECONNECT_POLL_SECS = 1


class AdbError(OSError):
    """adb or the device did not do what was asked."""


class DeviceLostError(AdbError):
    """The device went away; nothing it printed can be trusted."""


@dataclasses.dataclass(frozen=True)
class AttachedDevice:
    """A line of `adb devices`.

    Attributes:
        serial: names the device to adb.
        state: "device" when usable, else e.g. "offline", "unauthorized".
    """

    serial: str
    state: str


@dataclasses.dataclass(frozen=True)
class ShellResult:
    """What a command on the device printed and returned."""

    stdout: str
    stderr: str
    returncode: int


def find_executable(path: str | None) -> str | None:
    """Returns adb: `path`, else $ADB, else from PATH; None if there is none.

    Raises:
        ValueError: if `path` or $ADB is set and is no executable.
    """
    for source, value in (("--adb", path), ("$ADB", os.environ.get("ADB"))):
        if value:
            found = shutil.which(value)
            if not found:
                raise ValueError(
                    f"{source}={value}: expected the adb executable, got no "
                    "such program"
                )
            return os.path.abspath(found)
    return shutil.which("adb")


def advice(reason: str) -> str:
    """Returns what to do about a device's error, "" if that is not known."""
    for sign, text in _REASON_ADVICE.items():
        if sign in reason.lower():
            return f": {text}"
    return ""


class Adb:
    """adb and, once selected, one device.

    Example:

        client = adb.Adb(adb.find_executable(None)).select(None)
        client.shell("getprop ro.product.model").stdout
    """

    def __init__(self, executable: str | None, serial: str | None = None):
        """Stores the executable.

        Raises:
            ValueError: if `executable` is None.
        """
        if executable is None:
            raise ValueError(
                "adb not found on PATH: install Android platform-tools "
                "(Debian: apt-get install adb), give --adb=PATH, or use "
                "--device=host"
            )
        self._executable = executable
        self.serial = serial

    def devices(self) -> list[AttachedDevice]:
        """Returns the attached devices in any state.

        Raises:
            AdbError: if adb fails.
        """
        done = self._run(["devices"], _QUICK_SECS)
        if done.returncode:
            raise AdbError(f"`adb devices` failed: {_tail(done)}")
        attached = []
        for line in done.stdout.splitlines():
            serial, tab, state = line.partition("\t")
            if tab:
                # "no permissions (user in plugdev group; ...)" has a reason.
                state = state.split("(")[0].split(";")[0].strip()
                attached.append(AttachedDevice(serial.strip(), state))
        return attached

    def select(self, serial: str | None) -> "Adb":
        """Returns a client of one usable device.

        Args:
            serial: which device; None takes the only one attached.

        Raises:
            AdbError: if there is none, more than one without `serial`, or it
                is not usable; the message says what to do.
        """
        attached = self.devices()
        names = ", ".join(f"{d.serial} ({d.state})" for d in attached)
        if not attached:
            raise AdbError(
                "no Android device: `adb devices` lists none; connect one "
                "with USB debugging switched on, or use --device=host"
            )
        if serial is None:
            if len(attached) > 1:
                raise AdbError(
                    f"{len(attached)} devices attached, expected one: choose "
                    f"with --device=SERIAL from {names}"
                )
            device = attached[0]
        else:
            matches = [d for d in attached if d.serial == serial]
            if not matches:
                raise AdbError(
                    f"--device={serial}: not attached; `adb devices` lists "
                    f"{names}"
                )
            device = matches[0]
        if device.state != _READY:
            advice = _ADVICE.get(device.state, "bring it into Android")
            raise AdbError(
                f"device {device.serial} is in state {device.state!r}, "
                f"expected {_READY!r}: {advice}"
            )
        return Adb(self._executable, device.serial)

    def shell(self, command: str, timeout_secs: float) -> ShellResult:
        """Runs a command line on the device.

        Args:
            command: for the device's sh; quote data with shlex.quote.
            timeout_secs: after this the adb client is ended.

        Raises:
            DeviceLostError: if the command's end was never seen.
            AdbError: if it takes too long.
        """
        # In a subshell, so that `exit` in the command does not skip the
        # sentinel.
        done = self._run(
            ["shell", f'({command}\n); echo "__RC=$?"'], timeout_secs
        )
        stdout = done.stdout.replace("\r\n", "\n")
        stderr = done.stderr.replace("\r\n", "\n")
        sentinel = _SENTINEL.search(stdout)
        if not sentinel:
            raise DeviceLostError(
                f"device {self.serial} went away while it ran a command (adb "
                f"exit status {done.returncode}, {self._state_now()}): its "
                "output is incomplete; reconnect it and run again. Last "
                f"output: {_tail(done)}"
            )
        return ShellResult(
            stdout=stdout[: sentinel.start()],
            stderr=stderr,
            returncode=int(sentinel[1]),
        )

    def push(self, local: str, remote: str, timeout_secs: float) -> None:
        """Copies a file to the device.

        Raises:
            AdbError: if it cannot be written there, e.g. for lack of space.
        """
        done = self._run(["push", os.path.abspath(local), remote], timeout_secs)
        if done.returncode:
            raise AdbError(
                f"device {self.serial}: could not push {local} to {remote}: "
                f"{_tail(done)}{advice(done.stdout + done.stderr)}"
            )

    def usable(self) -> list[str]:
        """Returns the serials of the devices that can be used.

        Raises:
            AdbError: if adb fails.
        """
        return [d.serial for d in self.devices() if d.state == _READY]

    def wait(self, secs: float) -> None:
        """Returns once the selected device is usable again.

        Raises:
            DeviceLostError: if it is not within `secs`.
        """
        deadline = time.monotonic() + secs
        while self.serial not in self.usable():
            if time.monotonic() >= deadline:
                raise DeviceLostError(
                    f"device {self.serial} went away and did not come back "
                    f"within {secs:.0f} s ({self._state_now()}): reconnect it "
                    "and run again with --resume"
                )
            if ":" in self.serial:
                # Over a network adb does not reconnect by itself. That it
                # ends with 0 says nothing: the list above decides.
                Adb(self._executable)._run(
                    ["connect", self.serial], _QUICK_SECS
                )
            time.sleep(_RECONNECT_POLL_SECS)

    def _state_now(self):
        states = {d.serial: d.state for d in self.devices()}
        return f"now {states.get(self.serial, 'not attached')}"

    def _run(self, arguments: Sequence[str], timeout_secs):
        command = [self._executable]
        if self.serial is not None:
            command += ["-s", self.serial]
        try:
            return subprocess.run(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_secs,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise AdbError(
                f"`adb {arguments[0]}` on device {self.serial or '(none)'} "
                f"did not end within {timeout_secs:.0f} s: it was ended"
            ) from error


def _tail(done):
    """Returns the line of adb's output that has the reason."""
    lines = (done.stdout + "\n" + done.stderr).strip().splitlines()
    # After a failed push comes a line of statistics.
    errors = [line for line in lines if "error:" in line]
    return (errors or lines or ["(nothing)"])[-1].strip()
