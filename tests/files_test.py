"""Files are whole or absent, readable as usual, and missed in clear words."""

import os
import stat

import pytest

from mobilebert_tf import files


def test_success_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with files.atomic_path(str(path)) as temporary:
        assert os.path.dirname(temporary) == str(tmp_path)
        assert temporary != str(path)
        with open(temporary, "w") as stream:
            stream.write("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["out.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(error):
        with files.atomic_path(str(path)) as temporary:
            with open(temporary, "w") as stream:
                stream.write("half")
            raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_failure_leaves_no_file_where_there_was_none(tmp_path):
    with pytest.raises(RuntimeError):
        with files.atomic_path(str(tmp_path / "out.txt")) as temporary:
            os.remove(temporary)  # the block may have moved it
            raise RuntimeError
    assert not os.listdir(tmp_path)


def test_failed_encoding_leaves_the_old_file(tmp_path):
    """A lone surrogate has no UTF-8 form: an error in the midst of writing."""
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(str(path), "new \udc80")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.txt"]


def test_write_text_and_bytes(tmp_path):
    path = tmp_path / "a" / "b" / "out"
    files.write_text(str(path), "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    files.write_bytes(str(path), b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"


def test_path_without_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_text("out.txt", "text")
    assert (tmp_path / "out.txt").read_text() == "text"
    assert os.listdir(tmp_path) == ["out.txt"]


@pytest.mark.parametrize(
    "umask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)]
)
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    """Temporary files are private; the result is an ordinary file."""
    previous = os.umask(umask)
    try:
        files.write_text(str(tmp_path / "out"), "text")
        assert os.umask(umask) == umask  # as it was
    finally:
        os.umask(previous)
    assert stat.S_IMODE(os.stat(tmp_path / "out").st_mode) == mode


def test_require_file(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("x")
    assert files.require_file(str(path), "input") == str(path)
    for given, message in (
        (None, "--input is required: got nothing, expected a file"),
        ("", "--input is required: got nothing, expected a file"),
        (
            str(tmp_path),
            f"--input={tmp_path}: expected a file, got a directory",
        ),
        (f"{path}x", f"--input={path}x: expected a file, got no such file"),
    ):
        with pytest.raises(ValueError) as info:
            files.require_file(given, "input")
        assert str(info.value) == message


def test_require_readable_file(tmp_path, monkeypatch):
    """The superuser may read everything: ask instead of chmod."""
    path = tmp_path / "in.txt"
    path.write_text("x")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match=f"--input={path}: permission denied"):
        files.require_file(str(path), "input")


@pytest.mark.parametrize(
    "require, kind",
    [
        (files.require_writable_file, "file"),
        (files.require_writable_directory, "folder"),
    ],
)
def test_require_writable(tmp_path, monkeypatch, require, kind):
    path = tmp_path / "file"
    path.write_text("x")
    new = str(tmp_path / "a" / "b")
    assert require(new, "output") == new
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(ValueError, match=f"--output is required.* a {kind}"):
        require("", "output")
    with pytest.raises(ValueError) as info:
        require(f"{path}/x", "output")
    assert str(info.value) == (
        f"--output={path}/x: cannot be written: {path} is no directory"
    )
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(
        ValueError, match=f"--output={new}: .*denied in {tmp_path}$"
    ):
        require(new, "output")


def test_a_file_to_write_is_no_directory_and_the_reverse(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    assert files.require_writable_file(str(path), "o") == str(path)
    with pytest.raises(
        ValueError, match=f"--o={tmp_path}: expected a file, got"
    ):
        files.require_writable_file(str(tmp_path), "o")
    folder = str(tmp_path)
    assert files.require_writable_directory(folder, "o") == folder
    with pytest.raises(ValueError, match=f"{path} is no directory"):
        files.require_writable_directory(str(path), "o")


def test_require_directory(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("x")
    assert files.require_directory(str(tmp_path), "dir") == str(tmp_path)
    for given, message in (
        (None, "--dir is required: got nothing, expected a directory"),
        (str(path), f"--dir={path}: expected a directory, got a file"),
        (
            f"{path}x",
            f"--dir={path}x: expected a directory, got no such directory",
        ),
    ):
        with pytest.raises(ValueError) as info:
            files.require_directory(given, "dir")
        assert str(info.value) == message


def test_require_local():
    files.require_local("/mnt/bucket", "model_dir")
    with pytest.raises(ValueError, match="--model_dir=gs://b/r: expected a"):
        files.require_local("gs://b/r", "model_dir")
