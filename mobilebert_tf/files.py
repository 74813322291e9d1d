"""Files that are whole or absent, and clear words when one is missing."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

import yaml


@contextlib.contextmanager
def atomic_path(path: str) -> Iterator[str]:
    """Yields a temporary path that replaces `path` if the block succeeds.

    The temporary file lies in the folder of `path` (made if absent), so that
    the final rename is atomic; it is removed if the block raises.

    Args:
        path: the file to write.

    Yields:
        The path to write to.
    """
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        prefix=f".{os.path.basename(path)}.", dir=folder
    )
    os.close(handle)
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(temporary, 0o666 & ~umask)
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise


def write_text(path: str, text: str) -> None:
    """Writes UTF-8 `text` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        with open(temporary, "w", encoding="utf-8") as stream:
            stream.write(text)


def write_bytes(path: str, data: bytes) -> None:
    """Writes `data` to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as stream:
            stream.write(data)


def read_bytes(path: str) -> bytes:
    """Returns the content of a file."""
    with open(path, "rb") as stream:
        return stream.read()


def copy(source: str, target: str) -> None:
    """Copies a file, whole or not at all; onto itself is a no-op."""
    if os.path.abspath(source) != os.path.abspath(target):
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)


def require_local(path: str, flag: str) -> None:
    """Refuses the address of a remote file system.

    Only input files of text and TFRecords are read through TensorFlow's.

    Args:
        path: what the user gave.
        flag: name of the flag it came from, for the message.

    Raises:
        ValueError: if `path` begins with a scheme, such as gs://.
    """
    if "://" in path:
        raise ValueError(
            f"--{flag}={path}: expected a folder or file of this machine (a "
            "mounted bucket is one), got an address"
        )


def require_writable_file(path: str | None, flag: str) -> str:
    """Returns `path` if a file can be written there; writes nothing.

    Args:
        path: what the user gave.
        flag: name of the flag or key it came from, for the message.

    Raises:
        ValueError: if `path` is empty or a directory, or the folder that it
            or its missing folders would be made in is no writable one.
    """
    if not path:
        raise ValueError(f"--{flag} is required: got nothing, expected a file")
    if os.path.isdir(path):
        raise ValueError(f"--{flag}={path}: expected a file, got a directory")
    _require_writable(os.path.dirname(os.path.abspath(path)), path, flag)
    return path


def require_writable_directory(path: str | None, flag: str) -> str:
    """Returns `path` if files can be written below it; writes nothing.

    Raises:
        ValueError: if `path` is empty, or it or the folder that it would be
            made in is no writable folder.
    """
    if not path:
        raise ValueError(
            f"--{flag} is required: got nothing, expected a folder"
        )
    _require_writable(os.path.abspath(path), path, flag)
    return path


def require_file(path: str | None, flag: str) -> str:
    """Returns `path` if it is a readable file.

    Args:
        path: what the user gave.
        flag: name of the flag or key it came from, for the message.

    Raises:
        ValueError: if `path` is empty or is no readable file.
    """
    if not path:
        raise ValueError(f"--{flag} is required: got nothing, expected a file")
    if not os.path.isfile(path):
        kind = "a directory" if os.path.isdir(path) else "no such file"
        raise ValueError(f"--{flag}={path}: expected a file, got {kind}")
    if not os.access(path, os.R_OK):
        raise ValueError(f"--{flag}={path}: permission denied")
    return path


def require_directory(path: str | None, flag: str) -> str:
    """Returns `path` if it is a directory.

    Raises:
        ValueError: if `path` is empty or is no directory.
    """
    if not path:
        raise ValueError(
            f"--{flag} is required: got nothing, expected a directory"
        )
    if not os.path.isdir(path):
        kind = "a file" if os.path.exists(path) else "no such directory"
        raise ValueError(f"--{flag}={path}: expected a directory, got {kind}")
    return path


def _require_writable(folder, path, flag):
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise ValueError(
            f"--{flag}={path}: cannot be written: {folder} is no directory"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(
            f"--{flag}={path}: cannot be written: permission denied in {folder}"
        )


def read_yaml(path: str) -> dict:
    """Reads a mapping from a YAML file; an empty file is an empty mapping.

    Raises:
        ValueError: if the file is absent, or no YAML mapping.
    """
    require_file(path, "config_file")
    with open(path, encoding="utf-8") as stream:
        try:
            values = yaml.safe_load(stream)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(
            f"{path}: expected a mapping, got {type(values).__name__}"
        )
    return values
