import pytest

from mobilebert_tf import tokenization
from mobilebert_tf.data import vocabulary


def test_learned_vocabulary_covers_its_text(tmp_path, documents):
    texts = [["Größe CAFÉ straße"] * 20, *documents]
    tokens = vocabulary.learn(texts, 150)
    assert tuple(tokens[:5]) == tokenization.SPECIAL_TOKENS
    assert 100 < len(tokens) <= 150
    assert vocabulary.learn(texts, 150) == tokens

    path = str(tmp_path / "vocab.txt")
    vocabulary.write(tokens, path)
    tokenizer = tokenization.WordPieceTokenizer(path)
    assert tokenizer.vocabulary == tokens
    ids = tokenizer.tokenize([" ".join(d) for d in texts]).flat_values
    assert tokenizer.unk_id not in ids.numpy()


def test_cased_vocabulary_keeps_capitals(documents):
    texts = [["Ba Be"] * 50, *documents]
    assert "B" in vocabulary.learn(texts, 150, lower_case=False)
    assert "B" not in vocabulary.learn(texts, 150, lower_case=True)


def test_errors():
    with pytest.raises(ValueError, match="got 10, expected at least 100"):
        vocabulary.learn([["a"]], 10)
    for texts in ([], [["\u200b"]]):
        with pytest.raises(ValueError, match="no text"):
            vocabulary.learn(texts, 150)


def test_size_below_the_alphabet():
    alphabet = " ".join(
        chr(0x430 + i // 32) + chr(0x430 + i % 32) for i in range(32 * 32)
    )
    greek = " ".join(chr(0x3B1 + i) * 2 for i in range(25) if i != 17)
    with pytest.raises(ValueError, match="got 100, expected at least 1"):
        vocabulary.learn([[alphabet, greek] * 20], 100)
