"""Numbers of student and teacher against NumPy loops; pictures of them."""

import io
import json
import math

import numpy as np
import pytest
import small_networks
import tensorflow as tf
from matplotlib import image as image_lib

from mobilebert_tf.distillation import divergence
from mobilebert_tf.distillation import pictures
from mobilebert_tf.modeling import models


def _outputs(seed, num_blocks, shape, noise_of=None):
    """Returns random encoder outputs, of another one with noise."""
    batch, heads, length, hidden = shape
    generator = np.random.default_rng(seed)

    def arrays(name, count, shape):
        noise = generator.normal(size=[count, *shape])
        if noise_of is not None:
            noise = np.stack(noise_of[name][:count]) + 0.3 * noise
        return list(noise.astype(np.float32))

    return {
        "encoder_outputs": arrays(
            "encoder_outputs", num_blocks + 1, [batch, length, hidden]
        ),
        "attention_scores": arrays(
            "attention_scores", num_blocks, [batch, heads, length, length]
        ),
    }


def _measured(num_blocks, length, batch=2, heads=3):
    shape = (batch, heads, length, 5)
    taught = _outputs(0, num_blocks, shape)
    outputs = _outputs(1, num_blocks, shape, noise_of=taught)
    mask = np.ones([batch, length], np.int32)
    mask[0, length // 2 :] = 0
    return (
        divergence.measure(taught, outputs, mask, range(num_blocks)),
        taught,
        outputs,
        mask,
    )


def test_attention_divergence_is_that_of_single_rows():
    result, taught, outputs, mask = _measured(num_blocks=2, length=6)
    for block in range(2):
        for head in range(3):
            rows = []
            for example, position in np.argwhere(mask):
                place = (example, head, position)
                p = np.exp(taught["attention_scores"][block][place])
                q = np.exp(outputs["attention_scores"][block][place])
                p, q = p / p.sum(), q / q.sum()
                rows.append(sum(p * np.log(p / q)))
            assert result.blocks[block].attention_kl_per_head[
                head
            ] == pytest.approx(np.mean(rows), rel=1e-5)
        assert result.blocks[block].attention_kl == pytest.approx(
            np.mean(result.blocks[block].attention_kl_per_head)
        )
    assert (result.num_examples, result.num_tokens) == (2, 3 + 6)


def test_feature_maps_are_compared_token_by_token():
    result, taught, outputs, mask = _measured(num_blocks=2, length=6)
    for block in range(2):
        teacher = [
            taught["encoder_outputs"][block + 1][tuple(place)]
            for place in np.argwhere(mask)
        ]
        student = [
            outputs["encoder_outputs"][block + 1][tuple(place)]
            for place in np.argwhere(mask)
        ]
        mean = np.mean(teacher, axis=0)
        pairs = list(zip(teacher, student, strict=True))
        errors = [sum((t - s) ** 2) for t, s in pairs]
        spread = [sum((t - mean) ** 2) for t in teacher]
        cosines = [t.dot(s) / math.sqrt(t.dot(t) * s.dot(s)) for t, s in pairs]
        numbers = result.blocks[block]
        assert numbers.feature_map_error == pytest.approx(
            sum(errors) / sum(spread), rel=1e-5
        )
        assert numbers.feature_map_cosine == pytest.approx(
            np.mean(cosines), rel=1e-5
        )
        # The first example has three tokens, which argwhere lists first.
        np.testing.assert_allclose(
            result.cosines[block], cosines[:3], rtol=1e-5
        )


def test_the_mapping_chooses_the_teachers_block():
    _, taught, _, mask = _measured(num_blocks=4, length=6)
    student = {
        "encoder_outputs": taught["encoder_outputs"][::2],
        "attention_scores": taught["attention_scores"][1::2],
    }
    result = divergence.measure(taught, student, mask, [1, 3])
    for block in result.blocks:
        assert block.attention_kl == pytest.approx(0, abs=1e-12)
        assert block.feature_map_error == 0
        assert block.feature_map_cosine == pytest.approx(1)
    assert [block.teacher_block for block in result.blocks] == [1, 3]


def test_a_long_batch_is_cut_to_what_fits(monkeypatch):
    config = small_networks.CONFIGS["mobilebert"]
    inputs = small_networks.make_inputs(config, count=4, length=10)
    encoder = models.MobileBertForPreTraining(config)
    encoder.build_weights()
    # Of two blocks with two heads.
    monkeypatch.setattr(divergence, "_MAX_SCORES", 3 * 2 * 2 * 10 * 10 + 50)
    result = divergence.observe(
        encoder.encoder, encoder.encoder, inputs, range(2)
    )
    assert result.num_examples == 3
    assert result.num_tokens == inputs["input_mask"][:3].sum()
    assert result.teacher_attention.shape == (2, 2, 10, 10)
    assert result.blocks[1].feature_map_error == 0


@pytest.mark.parametrize("num_blocks, length", [(1, 16), (24, 512)])
def test_the_picture_fits_all_sizes(num_blocks, length, tmp_path):
    result, *_ = _measured(num_blocks, length, batch=1, heads=1)
    writer = tf.summary.create_file_writer(str(tmp_path))
    pictures.write(result, str(tmp_path), "transfer_0", 70, [0], writer)
    path = tmp_path / "pictures" / "divergence-70.png"
    picture = image_lib.imread(io.BytesIO(path.read_bytes()))
    assert picture.shape[:2] == (1250, 1300)
    numbers = json.loads(path.with_suffix(".json").read_text())
    assert (numbers["stage"], numbers["step"]) == ("transfer_0", 70)
    assert [block["attention_kl"] for block in numbers["blocks"]] == [
        block.attention_kl for block in result.blocks
    ]

    (events,) = tmp_path.glob("events*")
    values = {
        value.tag: value
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
        if event.step == 70
    }
    encoded = tf.make_ndarray(values["divergence"].tensor)[2]
    shown = tf.io.decode_png(encoded, channels=3) / 255
    np.testing.assert_allclose(shown, picture[..., :3], atol=1e-6)
    last = result.blocks[-1]
    tag = f"feature_map_error/block_{num_blocks - 1}"
    assert tf.make_ndarray(values[tag].tensor) == pytest.approx(
        last.feature_map_error
    )


def test_a_student_without_finite_numbers_can_be_drawn():
    _, taught, outputs, mask = _measured(num_blocks=2, length=6)
    for arrays in outputs.values():
        arrays[-1][:] = np.nan
    result = divergence.measure(taught, outputs, mask, range(2))
    pictures.draw(result, "title").savefig(io.BytesIO(), format="png")
