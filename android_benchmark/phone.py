"""Device mode: benchmark_model and the models on an Android device.

Everything lies in one folder of ours under /data/local/tmp, the place where
adb's shell may write and execute. File names are content digests: a file that
is there is pushed once, and no name of the user reaches the device's shell.
"""

import contextlib
import shlex
from collections.abc import Callable
from typing import Any

from android_benchmark import adb
from android_benchmark import benchmark_config
from android_benchmark import benchmark_model
from android_benchmark import device
from android_benchmark import model_file
from android_benchmark import results
from mobilebert_tf import files

FOLDER = "/data/local/tmp/mobilebert_benchmark"
_QUICK_SECS = 60
_PUSH_SECS = 600
# Beyond warm-up and measurement: start of the tool and one slow inference.
_GRACE_SECS = 120
_PID_FILE = f"{FOLDER}/run.pid"
# Only a process of our own binary is killed: the number may have been reused.
_KILL_LEFTOVER = (
    f"if [ -f {_PID_FILE} ]; then pid=$(cat {_PID_FILE}); "
    "if grep -q benchmark_model /proc/$pid/cmdline 2>/dev/null; "
    f"then kill -9 $pid; fi; rm -f {_PID_FILE}; fi"
)


class Phone:
    """Measures models with benchmark_model on one device."""

    backend = "benchmark_model"

    def __init__(
        self,
        client: adb.Adb,
        config: benchmark_config.BenchmarkConfig,
        progress: Callable[[str], None],
    ):
        """Checks the device and installs benchmark_model.

        Args:
            client: of a usable device.
            config: of the run.
            progress: receives one line per event.

        Raises:
            ValueError: if there is no benchmark_model, or the core mask names
                cores that the device does not have.
            adb.AdbError: if the device fails.
        """
        if not config.benchmark_model:
            raise ValueError(
                "--benchmark_model is required for an Android device: build "
                "it with Bazel (see WORKSPACE) or download LiteRT's prebuilt "
                "nightly benchmark_model for the device's ABI; no package "
                "manager ships it"
            )
        binary = files.require_file(config.benchmark_model, "benchmark_model")
        self._client = client
        self._config = config
        self._progress = progress
        self._properties = device.read_properties(client)
        device.check_core_mask(config.core_mask_bits, self._properties.clusters)
        self._binary_sha256 = model_file.sha256_of(binary)
        self._shell(f"mkdir -p {FOLDER} && {{ {_KILL_LEFTOVER}; }}")
        self._binary = self._install(
            binary, self._binary_sha256, "_benchmark_model"
        )
        self._graphs = {}
        self._inputs = {}

    @property
    def name(self) -> str:
        """The adb serial."""
        return self._client.serial

    def describe(self) -> dict[str, Any]:
        """Returns facts about the device for the report."""
        return {
            **self._properties.describe(),
            "benchmark_model_sha256": self._binary_sha256,
        }

    def core_mask(self, threads: int) -> str | None:
        """Returns the hexadecimal mask of the cores used, None if unpinned."""
        del threads  # The mask is the same for all.
        bits = self._config.core_mask_bits
        return None if bits is None else f"{bits:x}"

    def prepare(self, model: model_file.ModelFile) -> None:
        """Puts the model on the device, unless it is there.

        Raises:
            ValueError: if it is no model that can be given inputs.
            adb.AdbError: if it cannot be pushed.
        """
        self._inputs[model.path] = model_file.read_inputs(model.path)
        self._graphs[model.path] = self._install(
            model.path, model.sha256, ".tflite"
        )

    def measure(
        self, model: model_file.ModelFile, threads: int
    ) -> results.Measurement:
        """Measures one session of a prepared model.

        Raises:
            tool_lines.BenchmarkOutputError: if it is no measurement of
                what was asked.
            adb.AdbError: if the device fails or goes away.
        """
        config = self._config
        command = benchmark_model.command(
            self._binary,
            self._graphs[model.path],
            self._inputs[model.path],
            threads,
            config,
        )
        # The shell's pid becomes the tool's by exec, so that a tool left
        # behind by a lost connection can be found.
        script = f"echo $$ > {_PID_FILE}; exec {command}"
        try:
            done = self._client.shell(
                f"cd {FOLDER} && sh -c {shlex.quote(script)}",
                timeout_secs=2 * config.max_secs + _GRACE_SECS,
            )
        except BaseException:
            self.close()
            raise
        self.close()
        return benchmark_model.parse(
            done.stdout, done.stderr, done.returncode, threads, config.num_runs
        )

    def close(self) -> None:
        """Ends a tool that is still running; a lost device is let go."""
        with contextlib.suppress(adb.AdbError):
            self._client.shell(_KILL_LEFTOVER, _QUICK_SECS)

    def _install(self, local, sha256, suffix):
        """Returns the path of a file on the device, pushing it if needed."""
        remote = f"{FOLDER}/{sha256}{suffix}"
        if self._device_sha256(remote) == sha256:
            return remote
        self._progress(f"pushing {local!r} to {self.name}")
        # Pushed beside and renamed, so that a file cut short by a lost
        # connection never has the final name.
        partial = f"{remote}.partial"
        try:
            self._client.push(local, partial, _PUSH_SECS)
            arrived = self._device_sha256(partial)
            if arrived != sha256:
                raise adb.AdbError(
                    f"device {self.name}: {local} arrived damaged: got sha256 "
                    f"{arrived}, expected {sha256}"
                )
            self._shell(f"chmod 755 {partial} && mv -f {partial} {remote}")
        except BaseException:
            with contextlib.suppress(adb.AdbError):
                self._client.shell(f"rm -f {partial}", _QUICK_SECS)
            raise
        return remote

    def _device_sha256(self, path):
        done = self._client.shell(
            f"if [ -f {path} ]; then sha256sum {path}; fi", _QUICK_SECS
        )
        if done.returncode:
            raise adb.AdbError(
                f"device {self.name}: sha256sum failed with status "
                f"{done.returncode}: {done.stderr.strip()}; Android 6 or newer "
                "is expected"
            )
        return done.stdout.split(" ")[0].strip() or None

    def _shell(self, command):
        done = self._client.shell(command, _QUICK_SECS)
        if done.returncode:
            printed = (done.stderr or done.stdout).strip()
            raise adb.AdbError(
                f"device {self.name}: status {done.returncode}: {printed}"
            )
