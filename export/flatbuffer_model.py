"""A .tflite file to its schema's objects and back."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

FILE_IDENTIFIER = b"TFL3"

_ALIGNMENT = 16
# What the tables of a file may need besides its buffers; more is found, but
# by copying what is written so far.
_ROOM_FOR_TABLES = 1 << 20


def read(content: bytes) -> schema.ModelT:
    """Returns the model of a file, with all buffers inside.

    Some writers (ai-edge-quantizer's) append weights to the FlatBuffer and
    note their offsets, which runtimes before TensorFlow 2.15 do not look at:
    `write` puts them where every runtime finds them.

    Args:
        content: of the file. What follows the FlatBuffer is left out.

    Raises:
        ValueError: if it is no .tflite file.
    """
    if content[4:8] != FILE_IDENTIFIER:
        raise ValueError(
            f"expected a .tflite file, got one that starts with {content[:8]!r}"
        )
    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def write(model: schema.ModelT) -> bytes:
    """Returns the file of a model."""
    size = 0
    buffers = []
    for buffer in model.buffers:
        aligned = _AlignedBuffer()
        if buffer.data is not None:
            aligned.data = np.frombuffer(buffer.data, np.uint8)
            size += len(aligned.data)
        buffers.append(aligned)
    original, model.buffers = model.buffers, buffers
    try:
        builder = schema.flatbuffers.Builder(size + _ROOM_FOR_TABLES)
        builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    finally:
        model.buffers = original
    return bytes(builder.Output())


class _AlignedBuffer(schema.BufferT):
    """Data on a 16-byte boundary: the generated code forgets force_align."""

    def Pack(self, builder):
        if self.data is None:
            return super().Pack(builder)
        builder.Prep(_ALIGNMENT, len(self.data))
        data = builder.CreateNumpyVector(self.data)
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return schema.BufferEnd(builder)
