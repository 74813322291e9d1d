"""A fake Android device: the device's end of the ADB transport, on loopback.

The real adb client connects to it (`adb connect 127.0.0.1:PORT`) and can run
shell commands (with and without the shell_v2 protocol) and push files. Paths
under /data/local/tmp are mapped into a folder of this machine; commands run
in sh here. Faults are switched on by attributes of `FakeDevice`.

The protocol is that of Android's packages/modules/adb: protocol.txt (packets
and streams), SYNC.TXT (file transfer) and shell_service.h (shell_v2).
"""

import asyncio
import contextlib
import os
import pathlib
import re
import signal
import struct
import threading

_CNXN, _AUTH, _OPEN, _OKAY, _WRTE, _CLSE = (
    int.from_bytes(name, "little")
    for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE")
)
_VERSION = 0x01000001
_MAX_PAYLOAD = 256 * 1024
_AUTH_TOKEN, _AUTH_SIGNATURE = 1, 2
_STDOUT, _STDERR, _EXIT = 1, 2, 3
# The device's own; the rest of /proc, with the processes, is this machine's.
_DEVICE_PATHS = (
    "data/local/tmp",
    "sys/devices/system/cpu",
    "proc/sys/kernel/random/boot_id",
)
# cpu0-3, cpu4-6 and cpu7 of a Pixel 4, in kHz.
_CLOCKS = (1785600,) * 4 + (2419200,) * 3 + (2841600,)
_GETPROP = """#!/bin/sh
cat <<'END'
[ro.product.model]: [Pixel 4]
[ro.board.platform]: [msmnile]
[ro.product.cpu.abi]: [arm64-v8a]
[ro.build.version.release]: [13]
[ro.build.version.sdk]: [33]
END
"""
_DUMPSYS = """#!/bin/sh
cat "$DEVICE_ROOT/dumpsys/$1"
"""
_BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  level: {level}
  temperature: {tenths}
"""
# The cache is stale on purpose.
_THERMAL = """IsStatusOverride: false
Thermal Status: {status}
Cached temperatures:
	Temperature{{mValue=99.0, mType=3, mName=skin, mStatus=0}}
HAL Ready: true
Current temperatures from HAL:
	Temperature{{mValue=51.5, mType=0, mName=CPU0, mStatus=0}}
	Temperature{{mValue={skin}, mType=3, mName=skin, mStatus=0}}
Current cooling devices from HAL:
	CoolingDevice{{mValue=0, mType=2, mName=cpu}}
"""
# Keeps the mode, as the system does.
_CMD = """#!/bin/sh
if [ "$1 $2" = "power set-fixed-performance-mode-enabled" ]; then
  echo "$3" > "$DEVICE_ROOT/fixed_performance"
fi
"""
# In words of Android's toybox; cores that exist are not pinned.
_TASKSET = """#!/bin/sh
mask=$1
shift
if [ $((0x$mask & 0xff)) -eq 0 ]; then
  echo "taskset: failed to set pid $$'s affinity: Invalid argument" >&2
  exit 1
fi
exec "$@"
"""


class FakeDevice:
    """A device in a thread of its own; use as a context manager.

    Attributes:
        port: TCP port it listens on.
        authorized: whether it accepts the computer's key.
        shell_v2: whether it keeps stdout, stderr and exit codes apart.
        drop_marker: the connection is cut when a command prints this, and
            no other is accepted while this is set.
        push_error: why files cannot be written, if they cannot.
        delay_secs: before each packet.
        environment: variables of the commands it runs.
        processes: the commands it has started.
    """

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.port = None
        self.authorized = True
        self.shell_v2 = True
        self.drop_marker = None
        self._is_gone = False
        self.push_error = None
        self.delay_secs = 0.0
        self.environment = {
            "PATH": f"{root}/system/bin:/usr/bin:/bin",
            "DEVICE_ROOT": str(root),
        }
        self.processes = []
        self._connections = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        (root / "data/local/tmp").mkdir(parents=True)
        (root / "system/bin").mkdir(parents=True)
        for name, text in (
            ("getprop", _GETPROP),
            ("dumpsys", _DUMPSYS),
            ("cmd", _CMD),
            ("taskset", _TASKSET),
        ):
            program = root / "system/bin" / name
            program.write_text(text)
            program.chmod(0o755)
        (root / "dumpsys").mkdir()
        (root / "dumpsys/power").write_text("  mWakefulness=Awake\n")
        self.set_state()
        self.restart("first-boot")
        for core, khz in enumerate(_CLOCKS):
            folder = root / f"sys/devices/system/cpu/cpu{core}/cpufreq"
            folder.mkdir(parents=True)
            for name in ("scaling_cur", "scaling_max", "cpuinfo_max"):
                (folder / f"{name}_freq").write_text(f"{khz}\n")
            (folder / "scaling_governor").write_text("schedutil\n")

    def set_state(self, status=0, skin=31.5, level=80, battery=29.0) -> None:
        """Sets what dumpsys says: thermal status, degrees C, percent."""
        (self.root / "dumpsys/thermalservice").write_text(
            _THERMAL.format(status=status, skin=skin)
        )
        (self.root / "dumpsys/battery").write_text(
            _BATTERY.format(level=level, tenths=round(battery * 10))
        )

    def restart(self, boot_id: str) -> None:
        """Makes the device one that has booted since."""
        file = self.root / "proc/sys/kernel/random/boot_id"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{boot_id}\n")
        (self.root / "fixed_performance").unlink(missing_ok=True)

    @property
    def fixed_performance(self) -> str | None:
        """What the mode was set to last: "true", "false", None if never."""
        file = self.root / "fixed_performance"
        return file.read_text().strip() if file.exists() else None

    @property
    def serial(self) -> str:
        """The serial adb gives it."""
        return f"127.0.0.1:{self.port}"

    @property
    def folder(self) -> pathlib.Path:
        """Where its /data/local/tmp lies on this machine."""
        return self.root / "data/local/tmp"

    def __enter__(self):
        self._thread.start()
        self.port = self._call(self._listen())
        return self

    def __exit__(self, *_):
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def map_paths(self, text: str) -> str:
        """Returns text with the device's paths replaced by this machine's."""
        for path in _DEVICE_PATHS:
            pattern = rf"(?<![\w.-])/{path}(?=/|\b)"
            text = re.sub(pattern, lambda m: f"{self.root}{m[0]}", text)
        return text

    def drop(self) -> None:
        """Cuts the connection; commands go on, as on a real device."""
        self._is_gone = True
        for connection in list(self._connections):
            connection.writer.transport.abort()

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(
            timeout=20
        )

    async def _listen(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def _stop(self):
        self._server.close()
        self.drop()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _accept(self, reader, writer):
        # adb comes back by itself, sometimes within the second.
        if self._is_gone and self.drop_marker:
            writer.close()
            return
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            await connection.serve()
        except (
            asyncio.IncompleteReadError,
            asyncio.CancelledError,
            ConnectionError,
        ):
            pass  # The client or this device ended the connection.
        finally:
            self._connections.discard(connection)
            connection.close_streams()
            writer.close()


class _Connection:
    """The packets of one TCP connection."""

    def __init__(self, device, reader, writer):
        self.device = device
        self.writer = writer
        self._reader = reader
        self._streams = {}

    async def serve(self):
        while True:
            header = await self._reader.readexactly(24)
            command, first, second, length, _, _ = struct.unpack("<6I", header)
            payload = await self._reader.readexactly(length)
            if command == _CNXN:
                await self._greet()
            elif command == _OPEN:
                self._open(first, payload)
            elif command in (_OKAY, _WRTE, _CLSE):
                await self._dispatch(command, first, second, payload)
            elif command == _AUTH and first == _AUTH_SIGNATURE:
                # Asks for another key. The client has none and sends its
                # public one, which nobody accepts on the screen.
                await self._greet()

    async def send(self, command, first, second, payload=b""):
        if self.device.delay_secs:
            await asyncio.sleep(self.device.delay_secs)
        header = struct.pack(
            "<6I",
            command,
            first,
            second,
            len(payload),
            sum(payload) & 0xFFFFFFFF,
            command ^ 0xFFFFFFFF,
        )
        self.writer.write(header + payload)
        await self.writer.drain()

    def close_streams(self):
        for stream in self._streams.values():
            stream.closed_by_host()

    async def _greet(self):
        if not self.device.authorized:
            await self.send(_AUTH, _AUTH_TOKEN, 0, bytes(20))
            return
        features = "shell_v2,cmd" if self.device.shell_v2 else "cmd"
        banner = f"device::ro.product.model=Pixel 4;features={features}"
        await self.send(_CNXN, _VERSION, _MAX_PAYLOAD, banner.encode())

    def _open(self, remote, payload):
        local = max(self._streams, default=0) + 1
        stream = _Stream(self, local, remote)
        self._streams[local] = stream
        service = payload.rstrip(b"\0").decode()
        stream.task = asyncio.create_task(self._serve_stream(stream, service))

    async def _dispatch(self, command, remote, local, payload):
        stream = self._streams.get(local)
        if stream is None:
            return
        if command == _OKAY:
            stream.writable.set()
        elif command == _WRTE:
            stream.incoming.put_nowait(payload)
            await self.send(_OKAY, local, remote)
        else:
            stream.closed_by_host()

    async def _serve_stream(self, stream, service):
        kind, _, argument = service.partition(":")
        try:
            if kind.split(",")[0] == "shell":
                await self.send(_OKAY, stream.local, stream.remote)
                await _run_shell(stream, "v2" in kind.split(","), argument)
            elif kind == "sync":
                await self.send(_OKAY, stream.local, stream.remote)
                await _serve_files(stream)
        except (EOFError, ConnectionError):
            pass
        finally:
            self._streams.pop(stream.local, None)
            with contextlib.suppress(ConnectionError):
                await self.send(_CLSE, stream.local, stream.remote)


class _Stream:
    """One service's bytes in both directions."""

    def __init__(self, connection, local, remote):
        self.device = connection.device
        self.local = local
        self.remote = remote
        self.incoming = asyncio.Queue()
        self.writable = asyncio.Event()
        self.task = None
        self._connection = connection
        self._closed = False
        self._buffer = b""

    def closed_by_host(self):
        self._closed = True
        self.incoming.put_nowait(None)
        self.writable.set()

    async def write(self, data):
        # The protocol allows one packet in flight: each waits for its OKAY.
        for start in range(0, len(data), _MAX_PAYLOAD):
            if self._closed:
                raise EOFError
            self.writable.clear()
            await self._connection.send(
                _WRTE,
                self.local,
                self.remote,
                data[start : start + _MAX_PAYLOAD],
            )
            await self.writable.wait()

    async def read(self, count):
        while len(self._buffer) < count:
            data = await self.incoming.get()
            if data is None:
                raise EOFError
            self._buffer += data
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data


async def _run_shell(stream, v2, command):
    device = stream.device
    stderr = asyncio.subprocess.PIPE if v2 else asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        device.map_paths(command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        env=device.environment,
        cwd=device.root,
        start_new_session=True,
    )
    device.processes.append(process)

    async def forward(source, channel):
        while data := await source.read(65536):
            if device.drop_marker and device.drop_marker in data:
                device.drop()
            if v2:
                data = struct.pack("<BI", channel, len(data)) + data
            else:
                # The terminal of the old protocol.
                data = data.replace(b"\n", b"\r\n")
            await stream.write(data)

    pumps = [forward(process.stdout, _STDOUT)]
    if v2:
        pumps.append(forward(process.stderr, _STDERR))
    await asyncio.gather(*pumps)
    code = await process.wait()
    if v2:
        code = code if code >= 0 else 128 - code
        await stream.write(struct.pack("<BIB", _EXIT, 1, code))


async def _serve_files(stream):
    while True:
        request, length = struct.unpack("<4sI", await stream.read(8))
        if request == b"QUIT":
            return
        path = (await stream.read(length)).decode()
        if request == b"STAT":
            await stream.write(b"STAT" + _stat(stream.device, path))
        elif request == b"SEND":
            await _receive_file(stream, *path.rsplit(",", 1))
        else:
            await _refuse(stream, f"unknown request {request!r}")
            return


def _stat(device, path):
    try:
        found = os.stat(device.map_paths(path))
    except OSError:
        return bytes(12)
    return struct.pack("<3I", found.st_mode, found.st_size, int(found.st_mtime))


async def _receive_file(stream, path, mode):
    content = bytearray()
    while True:
        kind, length = struct.unpack("<4sI", await stream.read(8))
        if kind == b"DONE":
            break
        content += await stream.read(length)
    target = pathlib.Path(stream.device.map_paths(path))
    try:
        if stream.device.push_error:
            raise OSError(0, stream.device.push_error)
        target.write_bytes(content)
        target.chmod(int(mode) & 0o777 | 0o600)
    except OSError as error:
        await _refuse(stream, error.strerror)
    else:
        await stream.write(b"OKAY" + bytes(4))


async def _refuse(stream, reason):
    text = reason.encode()
    await stream.write(b"FAIL" + struct.pack("<I", len(text)) + text)
