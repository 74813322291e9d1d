"""Device mode: benchmark_model and the models on an Android device.

Everything lies in one folder of ours under /data/local/tmp, the place where
adb's shell may write and execute. File names are content digests: a file that
is there is pushed once, and no name of the user reaches the device's shell.
The pushed files stay for the next run, unless `clean` is set; all else is
undone by the guard (see device_guard.py).
"""

import dataclasses
import shlex
import time
from collections.abc import Callable
from typing import Any

from android_benchmark import adb
from android_benchmark import benchmark_config
from android_benchmark import benchmark_model
from android_benchmark import delegates
from android_benchmark import device
from android_benchmark import device_guard
from android_benchmark import device_state
from android_benchmark import model_file
from android_benchmark import results
from android_benchmark import tool_binary
from mobilebert_tf import files

FOLDER = "/data/local/tmp/mobilebert_benchmark"
_QUICK_SECS = 60
_PUSH_SECS = 600
# Beyond warm-up and measurement: start of the tool and one slow inference.
_GRACE_SECS = 120
# Between two looks at a device that is too hot.
_HEAT_POLL_SECS = 10
# XNNPACK has more events than the model has nodes.
_PROFILE_FLAGS = (
    "--enable_op_profiling=true",
    "--max_profiling_buffer_entries=16384",
)
_PROFILE_RUNS = 50
_PROFILE_SECS = 1.0


class Phone:
    """Measures models with benchmark_model on one device."""

    backend = "benchmark_model"

    def __init__(
        self,
        client: adb.Adb,
        config: benchmark_config.BenchmarkConfig,
        progress: Callable[[str], None],
    ):
        """Checks the device, takes it and installs benchmark_model.

        Args:
            client: of a usable device.
            config: of the run.
            progress: receives one line per event.

        Raises:
            ValueError: if there is no benchmark_model, or it is not built for
                the device.
            adb.AdbError: if the device fails or another run has it.
        """
        binary = tool_binary.locate(config)
        self._client = client
        self._config = config
        self._progress = progress
        self._properties = device.read_properties(client)
        tool_binary.check_abi(binary.path, self._properties.abi)
        self._source = binary
        self._guard = device_guard.DeviceGuard(client, FOLDER, progress)
        self._boot_id = None
        self._is_lost = False
        self._reconnect_secs = config.reconnect_secs
        self._remote = {}
        self._inputs = {}
        try:
            self._begin()
            self._capabilities = self._ask_capabilities()
        except BaseException:
            self.close()
            raise
        progress(
            f"{self.name}: benchmark_model {binary.sha256[:12]} from "
            f"{binary.source}, {self._capabilities.age}"
        )

    @property
    def name(self) -> str:
        """The adb serial."""
        return self._client.serial

    @property
    def model_name(self) -> str:
        """The device's name, e.g. "Pixel 4"."""
        return self._properties.model

    @property
    def tool(self) -> str:
        """The digest of benchmark_model."""
        return self._source.sha256

    def describe(self) -> dict[str, Any]:
        """Returns facts about the device for the report."""
        return {
            **self._properties.describe(),
            "benchmark_model_sha256": self._source.sha256,
            "benchmark_model_source": self._source.source,
            "benchmark_model_age": self._capabilities.age,
            "fixed_performance": self._guard.fixed_performance,
        }

    def core_mask(self, setting: benchmark_config.Setting) -> str | None:
        """Returns the hexadecimal mask of the cores used, None if unpinned."""
        return setting.mask_text

    def prepare(self, model: model_file.ModelFile) -> None:
        """Puts the model on the device, unless it is there.

        Raises:
            ValueError: if it is no model that can be given inputs.
            adb.AdbError: if it cannot be pushed.
        """
        self._inputs[model.path] = model_file.read_inputs(model.path)
        self._install(model.path, ".tflite")

    def measure(
        self,
        model: model_file.ModelFile,
        setting: benchmark_config.Setting,
        profile: bool = False,
    ) -> results.Observation:
        """Measures one session of a prepared model.

        Args:
            model: what to run.
            setting: how.
            profile: whether the time per operator is wanted; the latency is
                then that of a short run with the profiler's cost.

        Raises:
            ValueError: if the device or the tool does not have what the
                setting asks for, or the output is no measurement of it.
            adb.AdbError: if the device fails or goes away.
        """
        device.check_core_mask(setting.core_mask, self._properties.clusters)
        self._capabilities.check_flags(setting.delegate.flags)
        try:
            if self._is_lost:
                self._recover()
            return self._measure(model, setting, profile)
        except adb.DeviceLostError:
            self._is_lost = True
            raise
        except BaseException:
            self._guard.end_tool()
            raise

    def close(self) -> None:
        """Undoes what was changed; a lost device does so itself."""
        self._guard.end()
        if self._config.clean:
            try:
                self._client.shell(f"rm -rf {FOLDER}", _QUICK_SECS)
            except adb.AdbError as error:
                self._progress(f"{self.name}: could not clean up: {error}")

    def _begin(self):
        self._shell(f"mkdir -p {FOLDER}")
        self._guard.begin(self._properties.sdk, self._config.fixed_performance)
        self._install(self._source.path, "_benchmark_model")

    def _measure(self, model, setting, profile):
        config = self._config
        extra = []
        if profile:
            extra.extend(_PROFILE_FLAGS)
            config = dataclasses.replace(
                config,
                scenario=benchmark_config.STANDARD,
                num_runs=min(config.num_runs, _PROFILE_RUNS),
                min_secs=min(config.min_secs, _PROFILE_SECS),
            )
        if setting.delegate.library:
            library = files.require_file(setting.delegate.library, "delegates")
            extra.append(
                f"--external_delegate_path={self._install(library, '.so')}"
            )
        command = benchmark_model.command(
            self._remote[self._source.path],
            self._remote[model.path],
            self._inputs[model.path],
            setting,
            config,
            extra,
        )
        before, notes = self._settle()
        secs = 2 * config.max_secs + _GRACE_SECS
        pid = self._guard.pid_file
        # The shell's pid becomes the tool's by exec, so that a tool left
        # behind by a lost connection can be found.
        script = f"echo $$ > {pid}; exec {command}"
        done = self._client.shell(
            f"{self._guard.renewal(secs + device_guard.IDLE_LEASE_SECS)}; "
            f"cd {FOLDER} && sh -c {shlex.quote(script)}; code=$?; "
            f"rm -f {pid}; exit $code",
            timeout_secs=secs,
        )
        after = self._state()
        seen = benchmark_model.parse(
            done.stdout, done.stderr, done.returncode, setting, config.num_runs
        )
        notes += device_state.suspicions(before, after)
        notes += delegates.device_notes(setting.delegate, self._properties.sdk)
        return dataclasses.replace(
            seen,
            notes=(*notes, *seen.notes),
            state_before=dataclasses.asdict(before),
            state_after=dataclasses.asdict(after),
        )

    def _settle(self):
        """Pauses, waits while the device is hot; returns state and notes."""
        config = self._config
        time.sleep(config.cool_down_secs)
        state = self._state()
        if self._boot_id is None:
            self._progress(f"{self.name}: {device_state.one_line(state)}")
        elif self._boot_id != state.boot_id:
            self._progress(f"{self.name}: it was restarted; preparing it again")
            self._begin()
            state = self._state()
        self._boot_id = state.boot_id
        begin = time.monotonic()
        while reasons := device_state.heat(state, config.max_celsius):
            waited = time.monotonic() - begin
            if waited >= config.max_wait_secs:
                return state, [f"measured hot: {', '.join(reasons)}"]
            self._progress(
                f"{self.name}: too hot ({', '.join(reasons)}): waiting, "
                f"{waited:.0f} of at most {config.max_wait_secs:.0f} s"
            )
            time.sleep(min(_HEAT_POLL_SECS, config.max_wait_secs - waited))
            state = self._state()
        return state, []

    def _state(self):
        done = self._client.shell(
            f"{self._guard.renewal(device_guard.IDLE_LEASE_SECS)}; "
            f"{device_state.COMMAND}",
            _QUICK_SECS,
        )
        # A device without one of the services still has the others.
        return device_state.parse(done.stdout, self._guard.fixed_performance)

    def _recover(self):
        """Takes the device again after it went away."""
        wait_secs, self._reconnect_secs = self._reconnect_secs, 0
        self._progress(f"{self.name}: waiting for it to come back")
        self._client.wait(wait_secs)
        self._begin()
        for path in self._inputs:
            self._install(path, ".tflite")
        self._is_lost, self._boot_id = False, None
        self._reconnect_secs = self._config.reconnect_secs

    def _ask_capabilities(self):
        done = self._client.shell(
            f"{self._remote[self._source.path]} --help", _QUICK_SECS
        )
        return tool_binary.read_capabilities(f"{done.stdout}\n{done.stderr}")

    def _install(self, local, suffix):
        """Returns the path of a file on the device, pushing it if needed."""
        sha256 = model_file.sha256_of(local)
        remote = f"{FOLDER}/{sha256}{suffix}"
        self._remote[local] = remote
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
                    f"{arrived}, expected {sha256}; is its storage full?"
                )
            self._shell(f"chmod 755 {partial} && mv -f {partial} {remote}")
        except BaseException:
            self._remove(partial)
            raise
        return remote

    def _remove(self, path):
        try:
            self._client.shell(f"rm -f {path}", _QUICK_SECS)
        except adb.AdbError as error:
            self._progress(f"{self.name}: {path} may be left: {error}")

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
                f"{adb.advice(printed)}"
            )
