"""FlatBuffer tables of TFLite metadata, to bytes and back.

Only the tables that text models need, written from the published
metadata_schema.fbs (1.1.0, file identifier "M001") in the folder
tensorflow_lite_support/metadata of tensorflow/tflite-support. No module
generated from it installs beside TensorFlow 2.20 alone: one comes with
mediapipe, one with tflite-support, which needs protobuf below 4.

A table is a dict of its fields; what is absent, empty or 0 is not written.
"""

import dataclasses
from collections.abc import Mapping

import flatbuffers
from flatbuffers import number_types
from flatbuffers import table as table_lib

FILE_IDENTIFIER = b"M001"

# Members of the schema's enums and unions.
TENSOR_AXIS_LABELS = 2  # AssociatedFileType
VOCABULARY = 5  # AssociatedFileType
FEATURE_PROPERTIES = 1  # ContentProperties
BERT_TOKENIZER_OPTIONS = 4  # ProcessUnitOptions

_STRING = "string"
_BYTE = "byte"


@dataclasses.dataclass(frozen=True)
class _Field:
    """A field of a table.

    Attributes:
        name: as in the schema; of a union's discriminator with "_type".
        id: its number in the schema: the position there, which a union takes
            two of.
        kind: string, byte, or the name of a table.
        is_vector: whether it holds a list of them.
    """

    name: str
    id: int
    kind: str
    is_vector: bool = False


# Unions have the one member that is used here; `_type` says which it is.
_TABLES = {
    "ModelMetadata": (
        _Field("name", 0, _STRING),
        _Field("description", 1, _STRING),
        _Field("version", 2, _STRING),
        _Field("subgraph_metadata", 3, "SubGraphMetadata", True),
        _Field("author", 4, _STRING),
        _Field("license", 5, _STRING),
        _Field("associated_files", 6, "AssociatedFile", True),
        _Field("min_parser_version", 7, _STRING),
    ),
    "SubGraphMetadata": (
        _Field("name", 0, _STRING),
        _Field("description", 1, _STRING),
        _Field("input_tensor_metadata", 2, "TensorMetadata", True),
        _Field("output_tensor_metadata", 3, "TensorMetadata", True),
        _Field("associated_files", 4, "AssociatedFile", True),
        _Field("input_process_units", 5, "ProcessUnit", True),
        _Field("output_process_units", 6, "ProcessUnit", True),
    ),
    "TensorMetadata": (
        _Field("name", 0, _STRING),
        _Field("description", 1, _STRING),
        _Field("dimension_names", 2, _STRING, True),
        _Field("content", 3, "Content"),
        _Field("process_units", 4, "ProcessUnit", True),
        # Field 5 is statistics of images.
        _Field("associated_files", 6, "AssociatedFile", True),
    ),
    "Content": (
        _Field("content_properties_type", 0, _BYTE),
        _Field("content_properties", 1, "FeatureProperties"),
    ),
    "FeatureProperties": (),
    "ProcessUnit": (
        _Field("options_type", 0, _BYTE),
        _Field("options", 1, "BertTokenizerOptions"),
    ),
    "BertTokenizerOptions": (_Field("vocab_file", 0, "AssociatedFile", True),),
    "AssociatedFile": (
        _Field("name", 0, _STRING),
        _Field("description", 1, _STRING),
        _Field("type", 2, _BYTE),
        _Field("locale", 3, _STRING),
    ),
}
_UNION_MEMBERS = {
    "content_properties": FEATURE_PROPERTIES,
    "options": BERT_TOKENIZER_OPTIONS,
}
_ROOT = "ModelMetadata"


def encode(metadata: Mapping[str, object]) -> bytes:
    """Returns the file of a ModelMetadata.

    Args:
        metadata: its fields: strings, ints, tables as dicts, lists of them.

    Raises:
        ValueError: for a field that its table has not.
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(
        _write_table(builder, _ROOT, metadata), file_identifier=FILE_IDENTIFIER
    )
    return bytes(builder.Output())


def decode(content: bytes) -> dict[str, object]:
    """Returns the fields of a ModelMetadata that are set; see `encode`.

    Raises:
        ValueError: if the content is no such file.
    """
    identifier = bytes(content[4:8])
    if identifier != FILE_IDENTIFIER:
        raise ValueError(
            f"metadata: got file identifier {identifier!r}, expected "
            f"{FILE_IDENTIFIER!r}"
        )
    root = flatbuffers.encode.Get(
        number_types.UOffsetTFlags.packer_type, content, 0
    )
    return _read_table(table_lib.Table(content, root), _ROOT)


def _write_table(builder, kind, values):
    fields = _TABLES[kind]
    unknown = set(values) - {field.name for field in fields}
    if unknown:
        raise ValueError(
            f"metadata: {kind} has no field {', '.join(sorted(unknown))}"
        )
    # What a table points to is written before it.
    offsets = {
        field.id: _write_field(builder, field, values[field.name])
        for field in fields
        if field.kind != _BYTE and _is_set(field, values.get(field.name))
    }
    builder.StartObject(1 + max((field.id for field in fields), default=-1))
    for field in fields:
        if field.kind == _BYTE:
            builder.PrependByteSlot(field.id, values.get(field.name, 0), 0)
        elif field.id in offsets:
            builder.PrependUOffsetTRelativeSlot(field.id, offsets[field.id], 0)
    return builder.EndObject()


def _is_set(field, value):
    # A table without fields is something: that of a union's member.
    is_table = field.kind in _TABLES and not field.is_vector
    return value is not None if is_table else bool(value)


def _write_field(builder, field, value):
    if not field.is_vector:
        return _write_value(builder, field.kind, value)
    offsets = [_write_value(builder, field.kind, each) for each in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _write_value(builder, kind, value):
    if kind == _STRING:
        return builder.CreateString(value)
    return _write_table(builder, kind, value)


def _read_table(table, kind):
    values = {}
    for field in _TABLES[kind]:
        offset = table.Offset(4 + 2 * field.id)
        if not offset:
            continue
        member = _UNION_MEMBERS.get(field.name)
        if member and values.get(f"{field.name}_type") != member:
            continue  # Another member, of another model.
        values[field.name] = _read_field(table, field, offset)
    return values


def _read_field(table, field, offset):
    if field.kind == _BYTE:
        return table.Get(number_types.Int8Flags, table.Pos + offset)
    if not field.is_vector:
        return _read_value(table, field.kind, table.Pos + offset)
    start = table.Vector(offset)
    return [
        _read_value(table, field.kind, start + 4 * i)
        for i in range(table.VectorLen(offset))
    ]


def _read_value(table, kind, position):
    """Reads what the offset at `position` points to."""
    if kind == _STRING:
        return table.String(position).decode()
    return _read_table(
        table_lib.Table(table.Bytes, table.Indirect(position)), kind
    )
