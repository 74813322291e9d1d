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

# Of probabilities and unit vectors. Float kernels differ by rounding, integer
# ones by the release of the runtime, which decides what XNNPACK computes.
TOLERANCES = {
    "float32": 1e-5,
    "dynamic": 0.02,
    "dynamic_per_tensor": 0.02,
    "int8": 0.02,
}
IN_TASK_LIBRARY = ("float32", "dynamic_per_tensor", "int8")


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


@pytest.mark.parametrize("variant", client_models.VARIANTS)
def test_mediapipe_classifies_as_we_do(mediapipe, files, variant):
    _assert_same_labels(
        _classified(mediapipe["classifier", variant]),
        _own(files, "classifier", variant),
        TOLERANCES[variant],
    )


@pytest.mark.parametrize("variant", IN_TASK_LIBRARY)
def test_task_library_classifies_as_we_do(task_library, files, variant):
    _assert_same_labels(
        _classified(task_library["classifier", variant]),
        _own(files, "classifier", variant),
        TOLERANCES[variant],
    )


@pytest.mark.parametrize("variant", client_models.VARIANTS)
def test_mediapipe_embeds_as_we_do(mediapipe, files, variant):
    np.testing.assert_allclose(
        mediapipe["embedder", variant]["values"],
        _own(files, "embedder", variant),
        atol=TOLERANCES[variant],
    )


@pytest.mark.parametrize("variant", IN_TASK_LIBRARY)
def test_task_library_embeds_as_we_do(task_library, files, variant):
    np.testing.assert_allclose(
        task_library["embedder", variant]["values"],
        _own(files, "embedder", variant),
        atol=TOLERANCES[variant],
    )


@pytest.mark.parametrize("variant", IN_TASK_LIBRARY)
def test_task_library_answers_as_we_do(task_library, files, variant):
    answers = task_library["answerer", variant]["values"]
    for (question, context), answer in zip(
        conftest.QUESTIONS, answers, strict=True
    ):
        ids = client_models.device_ids([question, context], files.vocab_file)
        outputs = client_models.run(
            files.paths["answerer", variant], [ids], 384
        )
        first = 2 + len(ids[0])
        words = context.split()
        start, end = (
            outputs[name][0, first : first + len(words)]
            for name in ("start_logits", "end_logits")
        )
        best = max(
            (start[i] + end[j], i, j)
            for i in range(len(words))
            for j in range(i, min(i + 32, len(words)))
        )
        text, _, _, score = answer[0]
        tolerance = 1e-4 if variant == "float32" else 0.3
        assert score == pytest.approx(best[0], abs=tolerance)
        if variant == "float32":
            assert text == " ".join(words[best[1] : best[2] + 1])


def test_lint_says_what_mediapipe_loads(mediapipe, files):
    _assert_lint(op_lint.MEDIAPIPE, mediapipe, files)


def test_lint_says_what_task_library_loads(task_library, files):
    _assert_lint(op_lint.TASK_LIBRARY, task_library, files)


def _assert_lint(client, answers, files):
    expected = {}
    for key, path in files.paths.items():
        result = op_lint.lint(pathlib.Path(path).read_bytes())
        loads = {each.name: each.loads for each in result.runtimes}[client]
        expected[key] = loads or bool(result.refusals)
    assert {
        key: "values" in answer for key, answer in answers.items()
    } == expected


def test_what_lint_refuses_is_wrong_without_a_word(task_library, files):
    path = files.paths["classifier", "misstamped"]
    result = op_lint.lint(pathlib.Path(path).read_bytes())
    assert len(result.refusals) == 1
    assert "FULLY_CONNECTED says version 5 but needs 12" in result.refusals[0]
    actual = _classified(task_library["classifier", "misstamped"])
    expected = _own(files, "classifier", "misstamped")
    assert np.abs(actual - expected).max() > 5 * TOLERANCES["dynamic"]
