"""The published archive: unpacked with care, damage told."""

import gzip
import io
import os
import tarfile

import networks
import pytest

from mobilebert_tf.checkpoints import conversion

_VALUES = networks.make_checkpoint(networks.SHALLOW, "pretraining").values


def test_archive_folder_and_prefix_are_the_same(tmp_path):
    values = _VALUES
    folder = networks.save_tf1(tmp_path / "a", values)
    archive = networks.pack(folder, tmp_path / "released.tar.gz")
    for path in (
        archive,
        folder,
        os.path.join(folder, "mobilebert_variables.ckpt"),
    ):
        checkpoint = conversion.read(path, "auto")
        networks.assert_same_values(checkpoint.values, values)
        assert checkpoint.vocabulary == networks.VOCABULARY


def test_archive_cannot_write_elsewhere(tmp_path):
    folder = networks.save_tf1(tmp_path / "a", _VALUES)
    path = networks.pack(folder, tmp_path / "a.tar.gz", prefix="../../")
    assert conversion.read(path).head == "pretraining"
    link = tarfile.TarInfo("x/vocab.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    os.remove(os.path.join(folder, "vocab.txt"))
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        archive.addfile(link)
        for name in os.listdir(folder):
            archive.add(os.path.join(folder, name), name)
    assert conversion.read(str(tmp_path / "b.tar.gz")).vocabulary is None


def test_damaged_archives(tmp_path):
    folder = networks.save_tf1(tmp_path / "a", _VALUES)
    path = networks.pack(folder, tmp_path / "a.tar.gz")
    data = (tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(data[: len(data) // 2])
    flipped = bytes(byte ^ 255 for byte in data[100:-100])
    (tmp_path / "bits.tar.gz").write_bytes(data[:100] + flipped + data[-100:])
    (tmp_path / "text.tar.gz").write_text("no archive")
    for name in ("cut", "bits", "text", "absent"):
        broken = str(tmp_path / f"{name}.tar.gz")
        with pytest.raises(ValueError, match=f"--input={broken}: ."):
            conversion.read(broken)
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for prefix in ("x", "y"):
            info = tarfile.TarInfo(f"{prefix}/vocab.txt")
            archive.addfile(info, io.BytesIO())
    with pytest.raises(ValueError, match="holds vocab.txt twice"):
        conversion.read(str(tmp_path / "twice.tar"))
    assert conversion.read(path).head == "pretraining"


def test_archive_of_a_wrong_checksum(tmp_path):
    """Bits that leave the archive readable; only gzip's checksum tells."""
    path = networks.pack(
        networks.save_tf1(tmp_path / "a", _VALUES), tmp_path / "a.tar.gz"
    )
    packed = gzip.compress(gzip.decompress((tmp_path / path).read_bytes()), 0)
    (tmp_path / path).write_bytes(packed)
    assert conversion.read(path).vocabulary == networks.VOCABULARY
    assert packed.count(b"[UNK]") == 1
    (tmp_path / path).write_bytes(packed.replace(b"[UNK]", b"[UNL]"))
    with pytest.raises(ValueError, match=f"--input={path}: CRC check failed"):
        conversion.read(path)


def test_messages_name_the_archive(tmp_path):
    """Not the temporary folder that it is unpacked to."""
    folder = tmp_path / "a"
    path = str(tmp_path / "a.tar.gz")
    networks.save_tf1(folder, _VALUES)
    (data,) = folder.glob("*.data*")
    whole = data.read_bytes()
    data.write_bytes(whole[:1000])
    networks.pack(folder, path)
    with pytest.raises(
        ValueError, match=f"^{path}/mobilebert_variables.ckpt: not a whole"
    ):
        conversion.read(path)
    (folder / "bert_config.json").write_text("{")
    data.write_bytes(whole)
    networks.pack(folder, path)
    with pytest.raises(ValueError, match=f"^{path}/bert_config.json: not JSON"):
        conversion.read(path)
    (folder / "mobilebert_variables.ckpt.index").unlink()
    networks.pack(folder, path)
    with pytest.raises(ValueError, match=f"^--input={path}: no checkpoint"):
        conversion.read(path)
