"""Records the token ids that on-device text clients make of hard strings.

A probe model returns its input ids as an "embedding", so that a client's
TextEmbedder shows exactly what its tokenizer does. (TextClassifier and
BertNLClassifier give the same ids.) `tokenization_device_test.py` compares
with what it writes, testdata/device_tokens.json:

    python -m venv mp && mp/bin/pip install mediapipe==1.2.2 ai-edge-litert
    python3.9 -m venv tl && tl/bin/pip install tflite-support==0.4.4 'numpy<2'
    mp/bin/python tests/record_device_tokens.py mediapipe /tmp/probe
    tl/bin/python tests/record_device_tokens.py task_library /tmp/probe

The first command also writes the probe models into the folder it is given;
the second, whose client needs Python 3.9 to 3.11 and brings no schema of
model files, reads them there: the imports in functions are what only one of
the environments has. Neither imports the package under test.
"""

import importlib.metadata
import json
import pathlib
import sys
import zipfile

import device_strings

_OUTPUT = pathlib.Path(__file__).parent / "testdata/device_tokens.json"
_LENGTH = 1024
_SHORT_LENGTH = 8
# Tokens in a scanned text: [CLS], and 4 at most for each character.
_SCANNED_PER_TEXT = 240
_PACKAGES = {"mediapipe": "mediapipe", "task_library": "tflite-support"}


def write_probe(path, vocabulary, length):
    """Writes a model whose output is its `ids`, with a tokenizer's metadata.

    Args:
        path: of the .tflite file.
        vocabulary: bytes of its vocab.txt.
        length: tokens per text.
    """
    import flatbuffers

    model = _probe_model(length)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("vocab.txt", vocabulary)


def _probe_model(length):
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name, kind, buffer):
        result = schema.TensorT()
        result.name = name
        result.shape = [1, length]
        result.type = kind
        result.buffer = buffer
        return result

    names = ("ids", "mask", "segment_ids")
    tensors = [
        tensor(name, schema.TensorType.INT32, index)
        for index, name in enumerate(names, 1)
    ]
    tensors.append(tensor("embedding", schema.TensorType.FLOAT32, 4))
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CAST
    code.version = 1
    cast = schema.OperatorT()
    cast.inputs, cast.outputs = [0], [3]
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = tensors, [cast]
    graph.inputs, graph.outputs = [0, 1, 2], [3]
    metadata = schema.MetadataT()
    metadata.name = "TFLITE_METADATA"
    metadata.buffer = 5
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes, model.subgraphs = [code], [graph]
    model.buffers = [schema.BufferT() for _ in range(6)]
    model.buffers[5].data = list(_metadata(names))
    model.metadata = [metadata]
    return model


def _metadata(names):
    """Returns the bytes that tell a client to tokenize with vocab.txt."""
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    def tensor(name):
        result = schema.TensorMetadataT()
        result.name = name
        return result

    vocabulary = schema.AssociatedFileT()
    vocabulary.name = "vocab.txt"
    vocabulary.type = schema.AssociatedFileType.VOCABULARY
    options = schema.BertTokenizerOptionsT()
    options.vocabFile = [vocabulary]
    process = schema.ProcessUnitT()
    process.optionsType = schema.ProcessUnitOptions.BertTokenizerOptions
    process.options = options
    graph = schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [tensor(name) for name in names]
    graph.outputTensorMetadata = [tensor("embedding")]
    graph.inputProcessUnits = [process]
    model = schema.ModelMetadataT()
    model.name = "probe"
    model.subgraphMetadata = [graph]
    model.minParserVersion = "1.1.0"
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"M001")
    return bytes(builder.Output())


def open_mediapipe(path):
    """Returns a function from a text to the ids MediaPipe feeds."""
    from mediapipe.tasks.python import text
    from mediapipe.tasks.python.core import base_options

    client = text.TextEmbedder.create_from_options(
        text.TextEmbedderOptions(base_options.BaseOptions(str(path)))
    )

    class Utf8(str):
        """Passes bytes through the client, which encodes what it is given."""

        def encode(self, *unused_args):
            return self.utf8

    def embed(string):
        argument = Utf8()
        argument.utf8 = _utf8(string)
        return client.embed(argument).embeddings[0].embedding

    return embed


def open_task_library(path):
    """Returns a function from a text to the ids Task Library feeds."""
    from tflite_support.task import text

    client = text.TextEmbedder.create_from_file(str(path))

    def embed(string):
        embedding = client.embed(_utf8(string)).embeddings[0]
        return embedding.feature_vector.value

    return embed


def _utf8(string):
    return string if isinstance(string, bytes) else string.encode()


def ids(embed, string):
    """Returns the fed ids up to the last that is not padding."""
    values = [int(value) for value in embed(string)]
    while values and values[-1] == device_strings.PAD_ID:
        values.pop()
    return values


def scan(embed):
    """Returns the code points that split words, as ranges, by their kind.

    Every code point stands between two letters: "aXb" is one unknown word,
    or `a b` if X is white space, or `a X b` if X is a word of its own.
    """
    found = {"white_space": [], "own_word": []}
    codes = [c for c in range(1, 0x110000) if not 0xD800 <= c <= 0xDFFF]
    codes.remove(ord("."))  # It ends each part of the text.
    dot = device_strings.SCAN_VOCABULARY.index(".")
    kinds = {1: None, 2: "white_space", 3: "own_word"}
    for start in range(0, len(codes), _SCANNED_PER_TEXT):
        chunk = codes[start : start + _SCANNED_PER_TEXT]
        text = "".join(f"a{chr(code)}b." for code in chunk)
        row = [[]]
        for token in ids(embed, text)[1:-1]:
            if token == dot:
                row.append([])
            else:
                row[-1].append(token)
        assert len(row) == len(chunk) + 1, (hex(start), len(row))
        for index, code in enumerate(chunk):
            kind = kinds[len(row[index])]
            if kind:
                _extend(found[kind], code)
    return found


def _extend(ranges, code):
    if ranges and ranges[-1][1] == code - 1:
        ranges[-1][1] = code
    else:
        ranges.append([code, code])


def record(client, folder):
    """Returns what `client` does with all strings and code points."""
    opener = {"mediapipe": open_mediapipe, "task_library": open_task_library}
    embed = opener[client](folder / "probe.tflite")
    short = opener[client](folder / "short.tflite")
    quirks = opener[client](folder / "quirks.tflite")
    scanned = opener[client](folder / "scan.tflite")
    return {
        "version": importlib.metadata.version(_PACKAGES[client]),
        "strings": [ids(embed, text) for text in device_strings.STRINGS],
        "short": [ids(short, text) for text in device_strings.TRUNCATED],
        "quirks": [ids(quirks, text) for text in device_strings.QUIRKS],
        "invalid": [ids(embed, text) for text in device_strings.INVALID],
        "characters": scan(scanned),
    }


def _lines(tokens):
    return "".join(f"{token}\n" for token in tokens).encode()


def main():
    client, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if client == "mediapipe":
        folder.mkdir(parents=True, exist_ok=True)
        plain = _lines(device_strings.VOCABULARY)
        for name, vocabulary, length in (
            ("probe", plain, _LENGTH),
            ("short", plain, _SHORT_LENGTH),
            ("scan", _lines(device_strings.SCAN_VOCABULARY), _LENGTH),
            ("quirks", device_strings.QUIRKY_VOCABULARY, _LENGTH),
        ):
            write_probe(folder / f"{name}.tflite", vocabulary, length)
    recorded = json.loads(_OUTPUT.read_text()) if _OUTPUT.exists() else {}
    recorded[client] = record(client, folder)
    _OUTPUT.write_text(json.dumps(recorded, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
