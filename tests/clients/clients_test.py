"""Real client libraries say what our own evaluation says of a file.

Our own evaluation runs LiteRT on ids made as clients make them
(tokenization's device mode). Without an environment of a client its tests are
skipped; `make test-clients` makes both.
"""

import pathlib

import client_models
import conftest
import numpy as np
import pytest

from export import op_lint

# Of probabilities and coordinates of unit vectors: float kernels differ by
# rounding, integer ones by the release of the runtime, which decides what
# XNNPACK computes how: here in a random network that is made sure of itself, on
# real sentences 0.02. MediaPipe's release is as new as ours.
ROUNDING = 1e-5
OLD_INTEGERS = 0.08
# What is left to float kernels around integers of 16 bits may round them up or
# down.
INT16 = 1e-3
MEDIAPIPE_TOLERANCES = {
    **dict.fromkeys(client_models.VARIANTS, ROUNDING),
    "int16x8": INT16,
}
TASK_LIBRARY_TOLERANCES = {
    "float32": ROUNDING,
    "float16": ROUNDING,
    "int8_weights": ROUNDING,
    "int16x8": INT16,
    "dynamic_per_tensor": OLD_INTEGERS,
    "int8": OLD_INTEGERS,
}


def _own(files, model, variant):
    """Returns the first output of a file on the texts, [N, C]."""
    ids = client_models.device_ids(conftest.TEXTS, files.vocab_file)
    outputs = client_models.run(
        files.paths[model, variant],
        [[text] for text in ids],
        client_models.LENGTH,
    )
    return next(iter(outputs.values()))


def _classified(answer):
    """Returns the probabilities that a client gave, [N, C]."""
    assert "error" not in answer, answer
    return np.array(
        [
            [row[label] for label in client_models.LABELS]
            for row in answer["values"]
        ]
    )


def _assert_same_labels(actual, expected, tolerance):
    np.testing.assert_allclose(actual, expected, atol=tolerance)
    chosen = expected.argmax(axis=1)
    assert set(chosen) == {0, 1}
    is_sure = np.abs(expected[:, 0] - expected[:, 1]) > 2 * tolerance
    assert is_sure.mean() > 0.5
    np.testing.assert_array_equal(
        actual.argmax(axis=1)[is_sure], chosen[is_sure]
    )


@pytest.mark.parametrize("variant", [*MEDIAPIPE_TOLERANCES, "uint8_output"])
def test_mediapipe_classifies_as_we_do(mediapipe, files, variant):
    _assert_same_labels(
        _classified(mediapipe["classifier", variant]),
        _own(files, "classifier", variant),
        MEDIAPIPE_TOLERANCES.get(variant, ROUNDING),
    )


@pytest.mark.parametrize(
    "variant", [*TASK_LIBRARY_TOLERANCES, "int8_output", "uint8_output"]
)
def test_task_library_classifies_as_we_do(task_library, files, variant):
    _assert_same_labels(
        _classified(task_library["classifier", variant]),
        _own(files, "classifier", variant),
        TASK_LIBRARY_TOLERANCES.get(variant, OLD_INTEGERS),
    )


@pytest.mark.parametrize("variant", MEDIAPIPE_TOLERANCES)
def test_mediapipe_embeds_as_we_do(mediapipe, files, variant):
    np.testing.assert_allclose(
        mediapipe["embedder", variant]["values"],
        _own(files, "embedder", variant),
        atol=MEDIAPIPE_TOLERANCES[variant],
    )


@pytest.mark.parametrize("variant", TASK_LIBRARY_TOLERANCES)
def test_task_library_embeds_as_we_do(task_library, files, variant):
    np.testing.assert_allclose(
        task_library["embedder", variant]["values"],
        _own(files, "embedder", variant),
        atol=TASK_LIBRARY_TOLERANCES[variant],
    )


def _best_span(start, end, first, last):
    """Returns (score, start, end) as Task Library chooses it, or None.

    It pairs the five best positions of each kind, whatever they hold, and
    keeps pairs in the text of at most 32 tokens.
    """
    spans = [
        (start[i] + end[j], i, j)
        for i in np.argsort(-start)[:5]
        for j in np.argsort(-end)[:5]
        if first <= i <= j <= last and j - i < 32
    ]
    return max(spans, default=None)


@pytest.mark.parametrize("variant", TASK_LIBRARY_TOLERANCES)
def test_task_library_answers_as_we_do(task_library, files, variant):
    length = client_models.QUESTION_LENGTH
    num_answered = num_same = 0
    for (question, context), answers in zip(
        conftest.QUESTIONS,
        task_library["answerer", variant]["values"],
        strict=True,
    ):
        ids = client_models.device_ids([question, context], files.vocab_file)
        outputs = client_models.run(
            files.paths["answerer", variant], [ids], length
        )
        first = 2 + len(ids[0])
        best = _best_span(
            outputs["start_logits"][0],
            outputs["end_logits"][0],
            first,
            min(first + len(ids[1]), length - 1) - 1,
        )
        if variant == "float32":
            assert bool(answers) == (best is not None)
        if not answers or best is None:
            continue
        score, start, end = best
        text, *place, own_score = answers[0]
        num_answered += 1
        num_same += place == [start, end]
        if place == [start, end]:
            words = context.split()[start - first : end - first + 1]
            assert text == " ".join(words)
        assert own_score == pytest.approx(
            score, abs=1e-4 if variant == "float32" else 0.3
        )
    assert num_answered >= 3
    assert num_same >= (1.0 if variant == "float32" else 0.6) * num_answered


def test_lint_says_what_mediapipe_loads(mediapipe, files):
    _assert_lint(op_lint.MEDIAPIPE, mediapipe, files)


def test_lint_says_what_task_library_loads(task_library, files):
    _assert_lint(op_lint.TASK_LIBRARY, task_library, files)


def _assert_lint(client, answers, files):
    expected = {}
    for key in answers:
        content = pathlib.Path(files.paths[key]).read_bytes()
        result = op_lint.lint(content)
        loads = {each.name: each.loads for each in result.runtimes}[client]
        expected[key] = loads or bool(result.refusals)
    assert {
        key: "values" in answer for key, answer in answers.items()
    } == expected


def test_mediapipe_refuses_integer_outputs(mediapipe):
    assert "error" in mediapipe["classifier", "int8_output"]


def test_without_tokenizer_options_both_refuse(mediapipe, task_library):
    for answers in (mediapipe, task_library):
        assert "error" in answers["classifier", "no_tokenizer"]


def test_what_lint_refuses_is_wrong_without_a_word(task_library, files):
    path = files.paths["classifier", "misstamped"]
    result = op_lint.lint(pathlib.Path(path).read_bytes())
    assert len(result.refusals) == 1
    assert "FULLY_CONNECTED says version 5 but needs 12" in result.refusals[0]
    actual = _classified(task_library["classifier", "misstamped"])
    expected = _own(files, "classifier", "misstamped")
    assert np.abs(actual - expected).max() > 2 * OLD_INTEGERS
