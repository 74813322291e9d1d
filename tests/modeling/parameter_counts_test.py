"""The networks have exactly as many parameters as the published ones."""

import pytest

from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import models

# Word table 128 wide, types, positions, transformation, gamma and beta.
_EMBEDDINGS = (30522 * 128) + (2 + 512) * 512 + (3 * 128 * 512 + 512) + 2 * 512
# Transform with LayerNorm, 384 further output columns, bias; next sentence.
_HEADS = (512 * 512 + 512 + 2 * 512) + 30522 * 384 + 30522 + (512 * 2 + 2)
_POOLER = 512 * 512 + 512


@pytest.fixture(scope="module", name="pretrainer")
def _pretrainer():
    """Returns a function from preset name to a built pre-training model.

    Zeros in place of random numbers: drawing 306 M takes ten seconds.
    """
    built = {}

    def build(name):
        if name not in built:
            model = models.MobileBertForPreTraining(config_lib.preset(name))
            model.build_weights()
            built[name] = model
        return built[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(configured, "kernel_initializer", lambda config: "zeros")
        yield build


@pytest.mark.parametrize(
    "name, backbone, per_block, total",
    [
        ("mobilebert", 24_581_888, 842_240, 36_597_564),
        ("mobilebert_tiny", 15_485_696, 463_232, 27_501_372),
        ("ib_bert_large", 294_205_184, 12_076_544, 306_483_516),
    ],
)
def test_published_counts(pretrainer, name, backbone, per_block, total):
    model = pretrainer(name)
    encoder = model.encoder
    pooler = _POOLER if model.config.classifier_activation else 0
    assert encoder.count_params() == backbone + pooler
    assert encoder.embeddings.count_params() == _EMBEDDINGS
    assert {b.count_params() for b in encoder.blocks} == {per_block}
    assert model.count_params() == total == backbone + pooler + _HEADS


def test_teacher_with_pooler(pretrainer):
    assert pretrainer("ib_bert_large").encoder.count_params() == 294_467_840


def test_all_parameters_are_trainable_and_float32(pretrainer):
    model = pretrainer("mobilebert")
    assert not model.non_trainable_weights
    assert {weight.dtype.name for weight in model.weights} == {"float32"}
    # 7 of the embeddings, 46 per block, 6 and 2 of the heads.
    assert len(model.weights) == 7 + 24 * 46 + 6 + 2
    assert len({weight.name for weight in model.weights}) == len(model.weights)


def test_normalization_and_activation_have_no_parameters_of_their_own():
    """Without the operational optimisations the counts are the same."""
    counts = [
        models.MobileBertForPreTraining(
            config_lib.preset(name, num_hidden_layers=1, vocab_size=100)
        )
        for name in ("mobilebert", "mobilebert_without_opt")
    ]
    for model in counts:
        model.build_weights()
    assert counts[0].count_params() == counts[1].count_params()


def test_separate_key_query_gives_the_papers_count():
    """The paper's 25.3M is a network whose query and key read 512 channels."""
    config = config_lib.mobilebert(
        key_query_shared_bottleneck=False, num_hidden_layers=1, vocab_size=2
    )
    model = models.MobileBertForPreTraining(config)
    model.build_weights()
    per_block = model.encoder.blocks[0].count_params()
    assert _EMBEDDINGS + 24 * per_block == 25_359_104
