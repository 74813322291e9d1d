"""What a run changes on a device, and how it is undone in every case.

While a run lasts there is a lease on the device: a file with the time at which
the run's computer must have spoken again. A small loop on the device watches
it. When the run ends, on Ctrl-C too, this computer undoes everything itself
and takes the lease away. When the computer, the cable or adb's daemon dies,
the lease runs out and the loop does the same: it ends the tool, switches the
fixed-performance mode off and removes its files.
"""

import contextlib
import os
import re
import socket
from collections.abc import Callable

from android_benchmark import adb

_QUICK_SECS = 60
# A device answers much faster; a busy one may not.
IDLE_LEASE_SECS = 180
_LEASE = "lease"
_OWNER = "owner"
_LOOP = "guard.sh"
_PID = "run.pid"
# Android 11.
_FIXED_PERFORMANCE_SDK = 30
_FIXED_PERFORMANCE = "cmd power set-fixed-performance-mode-enabled"


class DeviceGuard:
    """Holds the lease on a device and undoes what a run changes there."""

    def __init__(
        self,
        client: adb.Adb,
        folder: str,
        progress: Callable[[str], None],
    ):
        """Stores where the files lie; changes nothing yet.

        Args:
            client: of a usable device.
            folder: of this project on the device; needs no quoting.
            progress: receives one line per event.
        """
        self._client = client
        self._folder = folder
        self._progress = progress
        self._is_held = False
        self._restores = False
        self.fixed_performance = False
        self.pid_file = f"{folder}/{_PID}"

    def begin(self, sdk: str, fixed_performance: bool) -> None:
        """Takes the lease, ends leftovers and switches the mode on.

        Args:
            sdk: the device's API level as it says itself.
            fixed_performance: whether the mode is wanted.

        Raises:
            adb.AdbError: if the device fails, or another run has it.
        """
        self._check_owner()
        supported = sdk.isdecimal() and int(sdk) >= _FIXED_PERFORMANCE_SDK
        if fixed_performance and not supported:
            self._progress(
                f"{self._client.serial}: no fixed-performance mode before "
                "Android 11; clocks may vary"
            )
        wanted = fixed_performance and supported
        self._is_held, self._restores = True, wanted
        self._run(
            f"cd {self._folder} && {self._undo_command(restore=wanted)}; "
            f"{self.renewal(IDLE_LEASE_SECS)}; echo {_owner()} > {_OWNER}; "
            f"{self._loop_command(restore=wanted)}"
        )
        if wanted:
            done = self._client.shell(f"{_FIXED_PERFORMANCE} true", _QUICK_SECS)
            self.fixed_performance = done.returncode == 0
            if done.returncode:
                self._progress(
                    f"{self._client.serial}: it refused the fixed-performance "
                    f"mode: {(done.stderr or done.stdout).strip()}"
                )

    def renewal(self, secs: float) -> str:
        """Returns the command that makes the lease last from now on."""
        lease = f"{self._folder}/{_LEASE}"
        # Renamed: the loop never reads a file that is half written.
        return (
            f"echo $(($(date +%s) + {int(secs)})) > {lease}.new; "
            f"mv -f {lease}.new {lease}"
        )

    def end_tool(self) -> None:
        """Ends a tool that is still running; a lost device is let go."""
        with contextlib.suppress(adb.AdbError):
            self._client.shell(self._kill_command(), _QUICK_SECS)

    def end(self) -> None:
        """Undoes everything; a lost device does it itself."""
        if not self._is_held:
            return
        with contextlib.suppress(adb.AdbError):
            self._client.shell(self._undo_command(self._restores), _QUICK_SECS)
        self._is_held = False
        self.fixed_performance = False

    def _check_owner(self):
        done = self._run(
            f"cat {self._folder}/{_OWNER} {self._folder}/{_LEASE} "
            "2>/dev/null; date +%s"
        )
        lines = done.stdout.split()
        if len(lines) != 3 or not all(n.isdecimal() for n in lines[1:]):
            return
        host, _, pid = lines[0].rpartition(":")
        gone = host == _host_name() and not _is_other_process(pid)
        left = int(lines[1]) - int(lines[2])
        if left > 0 and not gone:
            raise adb.AdbError(
                f"device {self._client.serial}: another run has it (process "
                f"{pid} on {host}); end that, or wait {left} s"
            )

    def _undo_command(self, restore):
        """Returns what ends the tool, restores the mode, removes the files."""
        restoring = f"{_FIXED_PERFORMANCE} false; " if restore else ""
        files = " ".join(
            f"{self._folder}/{name}"
            for name in (_LEASE, f"{_LEASE}.new", _OWNER, _LOOP)
        )
        return f"{self._kill_command()}; {restoring}rm -f {files}"

    def _kill_command(self):
        # Only a process of our own binary: the number may have been reused.
        return (
            f"if [ -f {self.pid_file} ]; then pid=$(cat {self.pid_file}); "
            "if grep -q benchmark_model /proc/$pid/cmdline 2>/dev/null; "
            f"then kill -9 $pid; fi; rm -f {self.pid_file}; fi"
        )

    def _loop_command(self, restore):
        lease = f"{self._folder}/{_LEASE}"
        loop = f"{self._folder}/{_LOOP}"
        return (
            f"cat > {loop} <<'END'\n"
            f"while [ -f {lease} ]; do\n"
            f'  if [ "$(date +%s)" -gt "$(cat {lease})" ]; then\n'
            f"    {self._undo_command(restore)}\n"
            "  fi\n"
            "  sleep 5\n"
            "done\n"
            "END\n"
            f"nohup setsid sh {loop} >/dev/null 2>&1 </dev/null &"
        )

    def _run(self, command):
        done = self._client.shell(command, _QUICK_SECS)
        if done.returncode:
            raise adb.AdbError(
                f"device {self._client.serial}: status {done.returncode}: "
                f"{(done.stderr or done.stdout).strip()}"
            )
        return done


def _owner():
    return f"{_host_name()}:{os.getpid()}"


def _host_name():
    # It goes through the device's shell.
    return re.sub(r"[^\w.-]", "_", socket.gethostname(), flags=re.ASCII)


def _is_other_process(pid):
    """Whether a process other than this one has the number `pid`."""
    if not pid.isdecimal() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
