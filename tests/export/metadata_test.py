"""Packed files stay what they were and say what they are."""

import io
import zipfile

import numpy as np
import pytest
import small_models

from export import conversion
from export import flatbuffer_model
from export import inference_graph
from export import metadata
from export import metadata_schema
from mobilebert_tf import model_directory

_VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_VOCABULARY += [f"word{i}" for i in range(35)]
_LABELS = ("no", "yes", "maybe")


def _content(head):
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.MAKERS[head](config)
    return conversion.convert(
        inference_graph.module_of(model, small_models.SEQUENCE_LENGTH)
    )


@pytest.fixture(scope="module")
def plain():
    return _content("classification")


@pytest.fixture(scope="module")
def packed(plain):
    return metadata.pack(plain, _description())


def _description(**changes):
    return metadata.Description(
        **{
            "name": "sentiment",
            "vocabulary": _VOCABULARY,
            "labels": _LABELS,
            "text": "Three labels.",
            **changes,
        }
    )


def _graph(content):
    return metadata.read(content)["metadata"]["subgraph_metadata"][0]


def test_packed_file_computes_the_same(plain, packed):
    config = small_models.CONFIGS["mobilebert"]
    inputs = small_models.make_inputs(config, 4)
    np.testing.assert_array_equal(
        small_models.run(packed, inputs)["probabilities"],
        small_models.run(plain, inputs)["probabilities"],
    )


def test_files_are_packed_uncompressed(packed):
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert {
            info.filename: info.compress_type for info in archive.infolist()
        } == {"vocab.txt": zipfile.ZIP_STORED, "labels.txt": zipfile.ZIP_STORED}
        assert archive.read("labels.txt") == b"no\nyes\nmaybe\n"
        assert archive.read("vocab.txt").decode().split() == _VOCABULARY


def test_inputs_are_named_in_the_order_of_the_graph(packed):
    """Not in ours: the converter has its own, and this shows that it has."""
    model = flatbuffer_model.read(packed)
    graph = model.subgraphs[0]
    names = {
        "serving_default_input_word_ids:0": "ids",
        "serving_default_input_mask:0": "mask",
        "serving_default_input_type_ids:0": "segment_ids",
    }
    order = [names[graph.tensors[i].name.decode()] for i in graph.inputs]
    assert order != ["ids", "mask", "segment_ids"]
    assert [
        tensor["name"] for tensor in _graph(packed)["input_tensor_metadata"]
    ] == order


def test_classifier_says_what_clients_look_for(packed):
    graph = _graph(packed)
    (output,) = graph["output_tensor_metadata"]
    assert output["name"] == "probability"
    assert output["associated_files"][0]["name"] == "labels.txt"
    assert output["associated_files"][0]["type"] == 2
    (unit,) = graph["input_process_units"]
    assert unit["options_type"] == 4
    assert unit["options"]["vocab_file"][0]["name"] == "vocab.txt"
    assert metadata.read(packed)["metadata"]["min_parser_version"] == "1.1.0"


@pytest.mark.parametrize(
    "head, labels, names",
    [
        ("regression", (), ["value"]),
        ("question_answering", (), ["end_logits", "start_logits"]),
        ("token_classification", tuple("abcde"), ["logits"]),
        ("multiple_choice", (), ["logits"]),
        ("embedding_mean", (), ["embedding"]),
        ("encoder", (), ["pooled_output", "sequence_output"]),
    ],
)
def test_outputs_of_other_heads(head, labels, names):
    content = metadata.pack(_content(head), _description(labels=labels))
    outputs = _graph(content)["output_tensor_metadata"]
    assert sorted(output["name"] for output in outputs) == names
    assert ("associated_files" in outputs[0]) == bool(labels)


def test_same_arguments_give_same_bytes(plain, packed):
    assert metadata.pack(plain, _description()) == packed


def test_packing_again_replaces(packed):
    assert metadata.pack(packed, _description()) == packed
    other = metadata.pack(packed, _description(labels=("a", "b", "c")))
    assert metadata.read(other)["files"]["labels.txt"] == b"a\nb\nc\n"
    assert len(other) == len(packed) - len("noyesmaybe") + 3


def test_growth_is_that_of_the_files(plain, packed):
    files = sum(map(len, metadata.read(packed)["files"].values()))
    assert len(packed) - len(plain) <= files + 2500


def test_weights_start_where_the_schema_asks(packed):
    """The generated writer would not align them."""
    model = flatbuffer_model.read(packed)
    checked = 0
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data) > 1000:
            checked += 1
            assert packed.index(bytes(buffer.data)) % 16 == 0
    assert checked > 5


def test_without_tokenizer_options_the_vocabulary_stays(plain):
    content = metadata.pack(plain, _description(clients_tokenize=False))
    assert "input_process_units" not in _graph(content)
    assert "vocab.txt" in metadata.read(content)["files"]


def test_empty_lines_of_a_vocabulary_keep_later_ids(plain):
    """Clients skip empty lines."""
    tokens = [*_VOCABULARY[:10], "", *_VOCABULARY[11:]]
    content = metadata.pack(plain, _description(vocabulary=tokens))
    lines = metadata.read(content)["files"]["vocab.txt"].decode().split("\n")
    assert [line for line in lines if line][11] == tokens[11]


def test_labels_must_fit_the_output(plain):
    with pytest.raises(ValueError, match="got 2 labels, but .* has 3 values"):
        metadata.pack(plain, _description(labels=("a", "b")))


@pytest.mark.parametrize("label", ["", " ", "a\nb", "a\u2028b"])
def test_labels_must_be_lines(plain, label):
    with pytest.raises(ValueError, match="expected one line"):
        metadata.pack(plain, _description(labels=("a", "b", label)))


def test_other_files_are_refused():
    with pytest.raises(ValueError, match="expected a .tflite file"):
        metadata.pack(b"PK\3\4 no model", _description())


def test_file_without_metadata_reads_as_empty(plain):
    assert metadata.read(plain) == {"metadata": {}, "files": {}}


def test_unknown_fields_are_refused():
    with pytest.raises(ValueError, match="ModelMetadata has no field nam"):
        metadata_schema.encode({"nam": "x"})


def test_damaged_metadata_are_refused():
    with pytest.raises(ValueError, match="got file identifier b'XXXX'"):
        metadata_schema.decode(b"\0\0\0\0XXXX")


@pytest.mark.parametrize(
    "head, changes, has_pairs, expected",
    [
        ("sequence_classification", {}, False, True),
        ("sequence_classification", {}, True, False),
        ("sequence_classification", {"lower_case": False}, False, False),
        ("sentence_embedding", {}, False, True),
        ("question_answering", {}, True, True),
        ("question_answering", {"lower_case": False}, True, False),
        ("token_classification", {}, False, False),
        ("multiple_choice", {}, True, False),
    ],
)
def test_only_what_clients_preprocess_rightly_asks_them_to(
    head, changes, has_pairs, expected, tmp_path
):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(_VOCABULARY))
    is_labelled = head in model_directory.LABELLED_HEADS
    labels = ("a", "b") if is_labelled else ()
    info = model_directory.ModelInfo(head, 16, labels=labels, **changes)
    description = metadata.describe(info, str(path), has_pairs)
    assert description.clients_tokenize == expected
    assert description.labels == labels
    assert description.vocabulary == _VOCABULARY
