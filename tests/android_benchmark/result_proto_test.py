"""The result file: against protobuf's own encoder and a captured file."""

import random
import struct

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message_factory

from android_benchmark import result_proto
from android_benchmark import tool_output

_FLOAT, _INT64, _MESSAGE = 2, 3, 11


@pytest.fixture(scope="module")
def encoded():
    """A file written by protobuf, of numbers of our own."""
    schema = descriptor_pb2.FileDescriptorProto(name="r.proto", package="p")
    for name, kinds in (
        ("Latency", [_FLOAT] * 10),
        ("Memory", [_INT64, _INT64]),
        ("Misc", [_FLOAT, _INT64, _INT64, _FLOAT]),
    ):
        message = schema.message_type.add(name=name)
        for number, kind in enumerate(kinds, start=1):
            message.field.add(
                name=f"f{number}", number=number, type=kind, label=1
            )
    whole = schema.message_type.add(name="Result")
    for number, kind in ((2, "Latency"), (3, "Memory"), (4, "Misc")):
        whole.field.add(
            name=kind.lower(),
            number=number,
            type=_MESSAGE,
            type_name=f".p.{kind}",
            label=1,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(schema)
    make = message_factory.GetMessageClass(
        pool.FindMessageTypeByName("p.Result")
    )
    result = make()
    for number in range(1, 11):
        setattr(result.latency, f"f{number}", number + 0.5)
    result.memory.f1, result.memory.f2 = 1000, 300000
    result.misc.f1, result.misc.f2 = 3.75, 1234
    result.misc.f3, result.misc.f4 = 7, 0.5
    return result.SerializeToString()


def test_numbers_of_protobufs_encoder(encoded):
    found = result_proto.parse(encoded)
    assert found.measured.count == 1234
    assert found.measured.mean_us == 1500
    assert found.measured.p95_us == 7500
    assert (found.init_us, found.first_inference_us) == (8500, 9500)
    assert found.warmup_count == 7
    assert found.memory_delta_bytes == 300000 * 1024


def test_truncated_is_never_a_result(encoded):
    for end in range(len(encoded)):
        with pytest.raises(ValueError):
            result_proto.parse(encoded[:end])


def test_no_damage_crashes_it(encoded):
    generator = random.Random(0)
    for _ in range(3000):
        data = bytearray(encoded)
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            found = result_proto.parse(bytes(data))
        except ValueError:
            continue
        assert found.measured.count > 0


def test_not_a_number_is_no_latency(encoded):
    place = encoded.index(struct.pack("<f", 1.5))
    data = encoded[:place] + struct.pack("<f", float("nan"))
    with pytest.raises(ValueError, match="incomplete"):
        result_proto.parse(data + encoded[place + 4 :])


def test_captured_file_agrees_with_what_the_tool_printed(captured_logs):
    found = result_proto.parse(
        (captured_logs / "litert_result.pb").read_bytes()
    )
    printed = tool_output.read(
        (captured_logs / "litert_result.stdout.txt").read_text()
    )
    assert found.measured.count == printed.measured.count
    assert found.warmup_count == printed.warmup.count
    for name in ("min_us", "max_us", "mean_us", "median_us", "p5_us", "p95_us"):
        assert getattr(found.measured, name) == pytest.approx(
            getattr(printed.measured, name), rel=1e-6
        )
    assert found.init_us == pytest.approx(printed.init_us)
    assert found.first_inference_us == pytest.approx(printed.first_inference_us)
    assert found.memory_delta_bytes == pytest.approx(
        printed.memory_delta_bytes, rel=1e-4
    )
