"""What a file tells apps about itself: TFLite metadata.

Client libraries (MediaPipe Tasks, the TFLite Task Library) take a text and do
the rest themselves, for which the file names its tensors and carries its
vocabulary and labels: metadata in the FlatBuffer, and a ZIP archive appended
to it. The file stays a .tflite for every interpreter.

Tensors are matched by the names of the file's signature, never by position:
the converter writes the inputs in an order of its own.
"""

import dataclasses
import io
import zipfile
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export import flatbuffer_model
from export import graph_heads
from export import inference_graph
from export import metadata_schema
from export import op_versions

VOCAB_FILE = "vocab.txt"
LABELS_FILE = "labels.txt"
_METADATA_NAME = "TFLITE_METADATA"
# Of the schema that first had BertTokenizerOptions.
_MIN_PARSER_VERSION = "1.1.0"
# The earliest that ZIP can write: equal contents make equal files.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_ZIP_UNIX = 3
_ZIP_MODE = 0o644 << 16

# Clients look tensors up by these names.
_INPUTS = {
    "input_word_ids": ("ids", "WordPiece ids: [CLS] text [SEP], padded with 0"),
    "input_mask": ("mask", "1 for tokens, 0 for padding"),
    "input_type_ids": ("segment_ids", "0 for a first text, 1 for a second"),
}
_OUTPUTS = {
    graph_heads.PROBABILITIES: ("probability", "Probability of each label"),
    graph_heads.VALUE: ("value", "Predicted value"),
    graph_heads.LOGITS: ("logits", "Scores before softmax"),
    graph_heads.START_LOGITS: ("start_logits", "Score of each first token"),
    graph_heads.END_LOGITS: ("end_logits", "Score of each last token"),
    graph_heads.SENTENCE_EMBEDDING: ("embedding", "Embedding of the text"),
    graph_heads.SEQUENCE_OUTPUT: ("sequence_output", "State of each token"),
    graph_heads.POOLED_OUTPUT: ("pooled_output", "State of the first token"),
}


@dataclasses.dataclass(frozen=True)
class Description:
    """What a file says of itself.

    Attributes:
        name: of the model.
        vocabulary: the token of each id.
        labels: of the last axis of the output, in order; () for none.
        text: what the model does, for people.
        clients_tokenize: whether a client's own preprocessing is right for
            the model: one lower-cased text, or a question and a text. Without,
            clients refuse the file: they would lower-case the texts of a cased
            model, and have no way to give a pair to a classifier.
    """

    name: str
    vocabulary: Sequence[str]
    labels: Sequence[str] = ()
    text: str = ""
    clients_tokenize: bool = True


def pack(content: bytes, description: Description) -> bytes:
    """Adds metadata, vocabulary and labels to a .tflite file.

    The file is written anew with all weights inside the FlatBuffer, where old
    runtimes look for them, and operators stamped with the versions they need.
    Equal arguments give equal bytes. What was packed before is replaced.

    Args:
        content: of a file with a signature whose inputs and outputs are named
            as in inference_graph and graph_heads.
        description: of it.

    Returns:
        The file, larger by the vocabulary, the labels and about 2 kB.

    Raises:
        ValueError: if the file has other inputs or outputs, or the labels do
            not fit its output.
    """
    model = flatbuffer_model.read(content)
    signature = _signature(model)
    op_versions.restamp(model)
    _set_metadata(
        model, metadata_schema.encode(_metadata(model, signature, description))
    )
    files = {VOCAB_FILE: _vocabulary_lines(description.vocabulary)}
    if description.labels:
        files[LABELS_FILE] = _lines(description.labels)
    return _append_zip(flatbuffer_model.write(model), files)


def read(content: bytes) -> dict[str, object]:
    """Returns what a file says of itself.

    Returns:
        `metadata`, see metadata_schema.decode ({} for none), and `files`:
        {name: bytes} of the packed ones.

    Raises:
        ValueError: if it is no .tflite file.
    """
    model = flatbuffer_model.read(content)
    fields = {}
    for each in model.metadata or []:
        if each.name.decode() == _METADATA_NAME:
            data = model.buffers[each.buffer].data
            fields = metadata_schema.decode(bytearray(data))
    files = {}
    stream = io.BytesIO(content)
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    return {"metadata": fields, "files": files}


def _signature(model):
    for each in model.signatureDefs or []:
        if each.signatureKey.decode() == inference_graph.SIGNATURE:
            return each
    raise ValueError(
        f"metadata: the file has no signature {inference_graph.SIGNATURE}"
    )


def _metadata(model, signature, description):
    graph = model.subgraphs[signature.subgraphIndex]
    vocabulary = {
        "name": VOCAB_FILE,
        "description": "WordPiece tokens by id",
        "type": metadata_schema.VOCABULARY,
    }
    inputs = [
        _tensor(graph.tensors[index], *_INPUTS[name], ("batch", "tokens"))
        for index, name in _in_graph_order(
            graph.inputs, signature.inputs, _INPUTS, "inputs"
        )
    ]
    outputs = [
        _output(graph.tensors[index], name, description.labels)
        for index, name in _in_graph_order(
            graph.outputs, signature.outputs, _OUTPUTS, "outputs"
        )
    ]
    subgraph = {
        "input_tensor_metadata": inputs,
        "output_tensor_metadata": outputs,
        "associated_files": [vocabulary],
    }
    if description.clients_tokenize:
        subgraph["input_process_units"] = [
            {
                "options_type": metadata_schema.BERT_TOKENIZER_OPTIONS,
                "options": {"vocab_file": [vocabulary]},
            }
        ]
    return {
        "name": description.name,
        "description": description.text,
        "subgraph_metadata": [subgraph],
        "min_parser_version": _MIN_PARSER_VERSION,
    }


def _in_graph_order(indices, named, known, what):
    """Returns (tensor, its name in the signature) as the subgraph lists them.

    Clients pair the metadata with the subgraph's tensors by position.
    """
    names = {each.tensorIndex: each.name.decode() for each in named or []}
    got = {names.get(index) for index in indices}
    is_known = got == set(known) if what == "inputs" else got <= set(known)
    if len(names) != len(indices) or not is_known:
        raise ValueError(
            f"metadata: got {what} {', '.join(sorted(names.values()))}, "
            f"expected {'some of ' if what == 'outputs' else ''}"
            f"{', '.join(known)}"
        )
    return [(index, names[index]) for index in indices]


def _output(tensor, name, labels):
    own_name, text = _OUTPUTS[name]
    dimensions = ["batch"] + [f"axis_{i}" for i in range(1, len(tensor.shape))]
    is_labelled = name == graph_heads.PROBABILITIES or (
        name == graph_heads.LOGITS and len(tensor.shape) == 3
    )
    fields = _tensor(tensor, own_name, text, dimensions)
    if not is_labelled or not labels:
        return fields
    if len(labels) != tensor.shape[-1]:
        raise ValueError(
            f"metadata: got {len(labels)} labels, but output {name} has "
            f"{tensor.shape[-1]} values"
        )
    fields["dimension_names"][-1] = "label"
    fields["associated_files"] = [
        {
            "name": LABELS_FILE,
            "description": "Labels by index",
            "type": metadata_schema.TENSOR_AXIS_LABELS,
        }
    ]
    return fields


def _tensor(tensor, name, text, dimensions):
    if len(tensor.shape) != len(dimensions):
        raise ValueError(
            f"metadata: {name} has shape {list(tensor.shape)}, expected "
            f"{len(dimensions)} axes"
        )
    return {
        "name": name,
        "description": text,
        "dimension_names": list(dimensions),
        "content": {
            "content_properties_type": metadata_schema.FEATURE_PROPERTIES,
            "content_properties": {},
        },
    }


def _set_metadata(model, content):
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.metadata = model.metadata or []
    for entry in model.metadata:
        if entry.name.decode() == _METADATA_NAME:
            model.buffers[entry.buffer] = buffer
            return
    entry = schema.MetadataT()
    entry.name = _METADATA_NAME.encode()
    entry.buffer = len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)


def _vocabulary_lines(tokens):
    """Returns a file that clients number as `wordpiece` does.

    They skip empty lines, so that later ids would shift: such an id gets a
    token with a space, which no word equals.
    """
    return _lines(
        token or f"[empty {index}]" for index, token in enumerate(tokens)
    )


def _lines(texts):
    texts = list(texts)
    for text in texts:
        if not text.strip() or len(text.splitlines()) != 1:
            raise ValueError(
                f"metadata: got label or token {text!r}, expected one line"
            )
    return "".join(f"{text}\n" for text in texts).encode()


def _append_zip(content, files):
    stream = io.BytesIO(content)
    # Clients map the files into memory: stored, not compressed.
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.create_system = _ZIP_UNIX
            info.external_attr = _ZIP_MODE
            archive.writestr(info, data)
    return stream.getvalue()
