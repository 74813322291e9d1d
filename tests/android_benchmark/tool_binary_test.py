"""Where benchmark_model comes from, and what is known about it."""

import hashlib
import struct

import pytest

from android_benchmark import benchmark_config
from android_benchmark import tool_binary


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def published(tmp_path):
    """A file with an address, and its digest."""
    path = tmp_path / "published"
    path.write_bytes(b"tool")
    return path, path.as_uri(), hashlib.sha256(b"tool").hexdigest()


def _config(**fields):
    return benchmark_config.BenchmarkConfig(models=("m",), **fields)


def _download(url, sha256):
    return tool_binary.locate(
        _config(benchmark_model_url=url, benchmark_model_sha256=sha256)
    )


def test_a_file_is_named_with_its_digest(published):
    path, _, sha256 = published
    found = tool_binary.locate(_config(benchmark_model=str(path)))
    assert (found.sha256, found.source) == (sha256, "--benchmark_model")


def test_a_download_is_kept_by_its_digest(home, published):
    path, url, sha256 = published
    first = _download(url, sha256)
    assert first.sha256 == sha256 and first.source == url
    path.unlink()
    assert _download(url, sha256) == first
    with open(first.path, "wb") as stream:
        stream.write(b"damaged")
    with pytest.raises(OSError, match="could not download"):
        _download(url, sha256)


def test_a_download_of_another_digest_is_refused(home, published):
    _, url, sha256 = published
    with pytest.raises(ValueError, match=f"has sha256 {sha256}, expected 0+:"):
        _download(url, "0" * 64)
    assert not [p for p in home.rglob("*") if p.is_file()]


def test_a_download_needs_a_digest_and_a_safe_address(published):
    _, url, sha256 = published
    with pytest.raises(ValueError, match="unchecked download"):
        _download(url, None)
    with pytest.raises(ValueError, match="https:// or file://, got 'http:"):
        _download("http://example.com/tool", sha256)


@pytest.mark.parametrize(
    ("machine", "abi", "fits"),
    [
        (183, "arm64-v8a", True),
        (62, "arm64-v8a", False),
        (40, "armeabi-v7a", True),
        (183, "x86_64", False),
        (183, "riscv64", True),
    ],
)
def test_the_abi_must_fit(tmp_path, machine, abi, fits):
    path = tmp_path / "tool"
    path.write_bytes(b"\x7fELF" + bytes(14) + struct.pack("<H", machine))
    if fits:
        tool_binary.check_abi(str(path), abi)
    else:
        with pytest.raises(ValueError, match=f"built for .*has {abi}"):
            tool_binary.check_abi(str(path), abi)


def test_what_is_no_elf_file_is_not_judged(tmp_path):
    path = tmp_path / "tool"
    path.write_bytes(b"#!/bin/sh")
    tool_binary.check_abi(str(path), "arm64-v8a")


def test_flags_of_a_real_build(captured_logs):
    text = (captured_logs / "litert_help.stderr.txt").read_text()
    found = tool_binary.read_capabilities(text)
    assert found.age == "LiteRT 2.1 or newer"
    assert {"graph", "num_threads", "use_xnnpack"} <= found.flags
    found.check_flags(("--use_xnnpack=true",))
    with pytest.raises(ValueError, match="no --use_gpu: it was built without"):
        found.check_flags(("--use_gpu=true", "--use_xnnpack=false"))


def test_a_build_that_lists_nothing_is_not_judged():
    found = tool_binary.read_capabilities("sh: --help: not found")
    assert "unknown" in found.age
    found.check_flags(("--use_gpu=true",))


def test_an_old_build_is_called_old():
    text = "\t--graph=x\tstring\toptional\tfile\n"
    assert tool_binary.read_capabilities(text).age.startswith("OLD")
