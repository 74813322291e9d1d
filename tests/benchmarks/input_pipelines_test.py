"""What the benchmark of the input pipelines prints and reads."""

from benchmarks import input_pipelines
from mobilebert_tf import tokenization
from mobilebert_tf.data import text


def test_table():
    secs = {"examples": [1.0, 2.0, 9.0], "text, token": [4.0, 5.0, 4.0]}
    assert input_pipelines.table(secs, 1000) == [
        "pipeline     examples/s  ratio  slowest  fastest",
        "examples            500   1.00      111    1,000",
        "text, token         250   0.50      200      250",
    ]


def test_made_text_has_words_of_one_and_two_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(input_pipelines, "_SENTENCES", 300)
    text_file, vocab_file = input_pipelines.make_text(str(tmp_path))
    documents = list(text.read_documents(text_file))
    assert sum(map(len, documents)) == 300
    tokenizer = tokenization.WordPieceTokenizer(vocab_file)
    pieces = tokenizer.tokenize(documents[1]).flat_values.numpy()
    assert tokenizer.unk_id not in pieces
    assert any(tokenizer.vocabulary[i].startswith("##") for i in pieces)
