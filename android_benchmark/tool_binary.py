"""benchmark_model itself: where it comes from, and what it can do.

No package manager ships it. It is a file of the user's, or a download with
the digest that the user trusts; see docs/android_benchmark.md for building
it. It has no version number: what stands in the report is its digest and the
age that its flags betray.
"""

import dataclasses
import os
import re
import urllib.error
import urllib.request

from android_benchmark import benchmark_config
from android_benchmark import model_file
from mobilebert_tf import files

_CACHE = os.path.join("~", ".cache", "mobilebert_benchmark")
_DOWNLOAD_SECS = 60
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FLAG = re.compile(r"^\s*--(\w+)=\S*\s+(?:bool|int32|float|string)\s", re.M)
# e_machine of an ELF header, by Android's names of ABIs.
_MACHINES = {"x86": 3, "armeabi-v7a": 40, "x86_64": 62, "arm64-v8a": 183}
# Came with LiteRT 2.1.
_NEW_FLAG = "result_file_path"


@dataclasses.dataclass(frozen=True)
class ToolBinary:
    """The file on this computer.

    Attributes:
        path: of the file.
        sha256: its digest.
        source: "--benchmark_model" or the address it was downloaded from.
    """

    path: str
    sha256: str
    source: str


@dataclasses.dataclass(frozen=True)
class Capabilities:
    """What a build says it can do.

    Attributes:
        flags: it knows, without dashes; None if it did not list them.
    """

    flags: frozenset[str] | None

    @property
    def age(self) -> str:
        """The releases the build may be of."""
        if self.flags is None:
            return "unknown: it lists no flags"
        if _NEW_FLAG in self.flags:
            return "LiteRT 2.1 or newer"
        return "OLD: before LiteRT 2.1, with other kernels than today's"

    def check_flags(self, arguments: tuple[str, ...]) -> None:
        """Checks that a build knows the flags of a delegate.

        Raises:
            ValueError: if it does not.
        """
        names = [a.removeprefix("--").split("=")[0] for a in arguments]
        missing = [n for n in names if self.flags and n not in self.flags]
        # Only a wish to do without what it does not have.
        missing = [n for n in missing if f"--{n}=false" not in arguments]
        if missing:
            raise ValueError(
                f"this benchmark_model has no --{', --'.join(missing)}: it was "
                "built without that delegate; give another with "
                "--benchmark_model"
            )


def locate(config: benchmark_config.BenchmarkConfig) -> ToolBinary:
    """Returns the binary the configuration names, downloaded if need be.

    Raises:
        ValueError: if none is named, or a download has another digest.
        OSError: if it cannot be downloaded or stored.
    """
    if config.benchmark_model:
        path = files.require_file(config.benchmark_model, "benchmark_model")
        return ToolBinary(path, model_file.sha256_of(path), "--benchmark_model")
    if config.benchmark_model_url:
        return _download(
            config.benchmark_model_url, config.benchmark_model_sha256
        )
    raise ValueError(
        "--benchmark_model is required for an Android device: build it with "
        "Bazel, or give benchmark_model_url and benchmark_model_sha256 in the "
        "device's configuration (docs/android_benchmark.md); no package "
        "manager ships it"
    )


def read_capabilities(help_text: str) -> Capabilities:
    """Returns what a build lists with --help, on stdout or stderr."""
    found = frozenset(_FLAG.findall(help_text))
    return Capabilities(found if "graph" in found else None)


def check_abi(path: str, abi: str) -> None:
    """Checks that a binary is built for a device, as far as it can be told.

    Args:
        path: of the binary. What is no ELF file is not judged.
        abi: Android's name, e.g. "arm64-v8a". An unknown one is not judged.

    Raises:
        ValueError: if it is built for another.
    """
    with open(path, "rb") as stream:
        header = stream.read(20)
    if header[:4] != b"\x7fELF" or abi not in _MACHINES:
        return
    machine = int.from_bytes(header[18:20], "little")
    if machine != _MACHINES[abi]:
        built = [name for name, m in _MACHINES.items() if m == machine]
        raise ValueError(
            f"--benchmark_model={path}: built for "
            f"{built[0] if built else f'machine {machine}'}, the device has "
            f"{abi}"
        )


def _download(url, sha256):
    if not sha256 or not _SHA256.fullmatch(sha256):
        raise ValueError(
            "benchmark_model_sha256: expected 64 hexadecimal digits of the "
            f"file at {url}, got {sha256!r}: an unchecked download could be "
            "any version, or anything"
        )
    if not url.startswith(("https://", "file://")):
        raise ValueError(
            f"benchmark_model_url: expected https:// or file://, got {url!r}"
        )
    path = os.path.join(os.path.expanduser(_CACHE), sha256)
    if not (os.path.isfile(path) and model_file.sha256_of(path) == sha256):
        with files.atomic_path(path) as temporary:
            try:
                with urllib.request.urlopen(url, timeout=_DOWNLOAD_SECS) as got:
                    content = got.read()
            except urllib.error.URLError as error:
                raise OSError(
                    f"benchmark_model_url: could not download {url}: "
                    f"{error.reason}"
                ) from error
            with open(temporary, "wb") as stream:
                stream.write(content)
            actual = model_file.sha256_of(temporary)
            if actual != sha256:
                raise ValueError(
                    f"benchmark_model_url: {url} has sha256 {actual}, "
                    f"expected {sha256}: a nightly build changes; check it "
                    "and write the new digest to benchmark_model_sha256"
                )
            os.chmod(temporary, 0o755)
    return ToolBinary(path, sha256, url)
