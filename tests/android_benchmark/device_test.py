"""What a device says about itself."""

import pytest

from android_benchmark import adb
from android_benchmark import device

# A Pixel 4's cores (SM8150), in the form of the device's shell.
_PIXEL_4 = """cpu0 1785600
cpu1 1785600
cpu2 1785600
cpu3 1785600
cpu4 2419200
cpu5 2419200
cpu6 2419200
cpu7 2841600
"""


def test_clusters_of_a_pixel_4():
    clusters = device.parse_clusters(_PIXEL_4)
    assert [f"{c.mask:02x}" for c in clusters] == ["0f", "70", "80"]
    assert clusters[1].max_frequency_khz == 2419200
    device.check_core_mask(0xF0, clusters)
    device.check_core_mask(None, clusters)
    with pytest.raises(ValueError, match="core_mask=100.*cores ff.*2.84 GHz"):
        device.check_core_mask(0x100, clusters)


def test_unreadable_frequencies_are_no_clusters():
    assert device.parse_clusters("cpu0 \ncpu1 \n") == ()
    device.check_core_mask(0xF0, ())


def test_properties_of_a_device(connect, adb_server):
    fake = connect()
    client = adb.Adb(adb_server).select(fake.serial)
    properties = device.read_properties(client)
    assert properties.model == "Pixel 4"
    assert properties.soc == "msmnile"
    assert properties.abi == "arm64-v8a"
    assert (properties.android_version, properties.sdk) == ("13", "33")
    assert properties.fingerprint == "unknown"
    assert [c.mask for c in properties.clusters] == [0x0F, 0x70, 0x80]
    assert properties.describe()["device"] == fake.serial
