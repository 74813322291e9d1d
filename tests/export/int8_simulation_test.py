"""Quantisation-aware training computes what the int8 file will."""

import numpy as np
import pytest
import small_models
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from export import conversion
from export import graph_heads
from export import inference_graph
from export import numerics
from export import quantization
from export import trained_ranges
from mobilebert_tf.experiments import quantization_config
from mobilebert_tf.modeling import models
from mobilebert_tf.quantization_aware import ranges as ranges_lib
from mobilebert_tf.quantization_aware import simulation

_LENGTH = small_models.SEQUENCE_LENGTH
_AVERAGED = quantization_config.QuantizationConfig(decay=0.5)
_LEARNED = quantization_config.QuantizationConfig(ranges="learned")


def _simulation(model, config=_AVERAGED, num_steps=4):
    return simulation.Simulation(model, config, _LENGTH, num_steps)


def _calibrated(model, inputs, config=_AVERAGED):
    simulated = _simulation(model, config)
    simulated.calibrate(tf.data.Dataset.from_tensors(inputs))
    return simulated


def _read_ranges(model, folder):
    path = tf.train.Checkpoint(model=model).save(f"{folder}/ckpt")
    return ranges_lib.read(path)


class _Recorded(numerics.Int8):
    """Keeps what is stored, by the name of the activation."""

    def __init__(self, *args):
        super().__init__(*args)
        self.stored = {}

    def _stored(self, values, name):
        self.stored[name] = super()._stored(values, name)
        return self.stored[name]


def _shares_that_differ(model, simulated, inputs, content):
    """Returns the share of integers that differ by activation.

    Of the first example, which is not padded; of the embeddings and the first
    block, up to which few values in the middle between two steps have spread.
    """
    head = graph_heads.from_model(model)
    recorded = _Recorded(
        model.int8_ranges.of,
        inference_graph.float_activations(model.config, head),
    )
    first = {name: ids[:1] for name, ids in inputs.items()}
    simulated.logits(first, recorded)
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=(
            litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    interpreter.get_signature_runner()(**first)
    shares = {}
    for detail in interpreter.get_tensor_details():
        scales = detail["quantization_parameters"]["scales"]
        for name in _activations_of(detail["name"]):
            # The file has the context in another order too.
            if name not in recorded.stored or name.endswith("/context"):
                continue
            integers = interpreter.get_tensor(detail["index"])
            stored = recorded.stored[name].numpy()
            if integers.dtype != np.int8 or integers.size != stored.size:
                continue
            (zero_point,) = detail["quantization_parameters"]["zero_points"]
            values = (integers.astype(np.float32) - zero_point) * scales[0]
            difference = np.abs(values.ravel() - stored.ravel()) / scales[0]
            shares[name] = np.mean(difference > 0.1)
    return shares


def _activations_of(name):
    """Returns activations of the first parts that a tensor may be."""
    return {
        each
        for part in name.split(";")
        for each in (part, part.rsplit("/", 1)[0])
        if each.startswith(("embeddings/", "layer_0/"))
    }


def _grouped(model, inputs):
    """Makes two choices of every two rows, for a model of choices."""
    if not isinstance(model, models.MobileBertForMultipleChoice):
        return inputs
    return {name: ids.reshape(-1, 2, _LENGTH) for name, ids in inputs.items()}


@pytest.mark.parametrize(
    "head, config_name",
    [
        ("classification", "teacher"),
        ("classification", "multiplicative_mask_plain"),
        ("question_answering", "mobilebert"),
        ("token_classification", "no_bottleneck"),
        ("multiple_choice", "pad_invariant"),
    ],
)
def test_without_rounding_it_is_the_keras_model(head, config_name):
    """Outputs and the gradients of all variables."""
    config = small_models.CONFIGS[config_name]
    model = small_models.MAKERS[head](config)
    inputs = _grouped(model, small_models.make_inputs(config, count=4))
    simulated = _simulation(model)
    variables = model.encoder.trainable_variables

    def run(compute):
        with tf.GradientTape() as tape:
            outputs = compute()
            loss = tf.add_n([tf.reduce_sum(v**2) for v in outputs.values()])
        return outputs, tape.gradient(
            loss, variables, unconnected_gradients="zero"
        )

    outputs, gradients = run(lambda: simulated.logits(inputs, numerics.Float()))
    names = outputs.keys()
    expected, expected_gradients = run(
        lambda: {name: model(inputs)[name] for name in names}
    )
    for name in names:
        small_models.assert_close(outputs[name], expected[name].numpy())
    largest = max(float(tf.norm(tf.convert_to_tensor(g))) for g in gradients)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        difference = tf.convert_to_tensor(gradient) - wanted
        assert float(tf.norm(difference)) < 1e-4 * largest


@pytest.mark.parametrize(
    "head, config_name",
    [
        ("classification", "mobilebert"),
        ("question_answering", "mobilebert"),
        ("classification", "teacher"),
        ("classification", "no_bottleneck"),
    ],
)
def test_the_int8_file_computes_the_simulation(head, config_name, tmp_path):
    """Without calibration data: the file's ranges are the checkpoint's."""
    config = small_models.CONFIGS[config_name]
    model = small_models.MAKERS[head](config)
    inputs = small_models.make_inputs(config, count=32)
    simulated = _calibrated(model, inputs)
    outputs = simulated(inputs, training=False)
    float_model = conversion.convert(inference_graph.module_of(model, _LENGTH))
    ranges = trained_ranges.ranges_for(
        float_model, _read_ranges(model, tmp_path)
    )
    recipe = quantization.load_recipe(quantization.INT8)
    content = quantization.quantize(float_model, recipe, ranges)
    in_file = small_models.run(content, inputs)
    in_keras = small_models.keras_outputs(model, inputs)
    if "logits" in outputs:
        outputs = {"probabilities": tf.nn.softmax(outputs["logits"])}
    assert outputs.keys() == in_file.keys()
    for name, values in outputs.items():
        error = np.sqrt(np.mean((in_file[name] - values) ** 2))
        rounding = np.sqrt(np.mean((in_file[name] - in_keras[name]) ** 2))
        # Values in the middle between two steps part, and layers spread that.
        # Errors that had nothing in common would give the root of 2.
        assert error < 0.7 * rounding
    shares = _shares_that_differ(model, simulated, inputs, content)
    assert len(shares) > 10
    for name, share in shares.items():
        assert share < 0.2, name


def test_padding_does_not_count_in_ranges(tmp_path):
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    inputs = small_models.make_inputs(config, count=4)
    _calibrated(model, inputs)
    expected = _read_ranges(model, tmp_path)
    # Type 1 at padding, where no input has it, changes what those rows give.
    padding = 1 - inputs["input_mask"]
    changed = {**inputs, "input_type_ids": inputs["input_type_ids"] + padding}
    _calibrated(model, changed)
    assert _read_ranges(model, tmp_path) == expected


def test_averaged_ranges_follow_for_their_share_of_the_steps(tmp_path):
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    inputs = small_models.make_inputs(config, count=2, seed=1)
    simulated = _calibrated(model, inputs)
    others = small_models.make_inputs(config, count=2, seed=2)
    seen = [_read_ranges(model, tmp_path)]
    for _ in range(4):
        simulated(others, training=True)
        simulated(others, training=False)
        seen.append(_read_ranges(model, tmp_path))
    name = "layer_0/attention/scores"
    first, second, third, *rest = (ranges[name].high for ranges in seen)
    assert first != second != third
    assert rest == [third, third]


def test_keys_and_values_are_symmetric_however_ranges_are_found(tmp_path):
    config = small_models.CONFIGS["mobilebert"]
    for settings in (_AVERAGED, _LEARNED):
        model = small_models.make_classifier(config)
        inputs = small_models.make_inputs(config, count=2)
        simulated = _calibrated(model, inputs, settings)
        simulated(inputs, training=True)
        for factor in model.int8_ranges.trainable_variables:
            factor.assign_add(0.2 + tf.range(factor.shape[0], dtype=tf.float32))
        for name, (low, high) in _read_ranges(model, tmp_path).items():
            if name.endswith(("/key", "/value")):
                assert low == pytest.approx(-high * 128 / 127)


def test_learned_ranges_have_gradients():
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    inputs = small_models.make_inputs(config, count=2)
    simulated = _calibrated(model, inputs, _LEARNED)
    factors = model.int8_ranges.trainable_variables
    assert {id(each) for each in factors} <= {
        id(each) for each in model.trainable_variables
    }
    for factor in factors:
        factor.assign_sub([0.5] * factor.shape[0])  # now values are clipped
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(simulated(inputs, training=True)["logits"] ** 2)
    gradients = tape.gradient(loss, factors)
    assert all(np.isfinite(g).all() for g in gradients)
    assert np.mean([np.any(g) for g in gradients]) > 0.8


def test_activation_that_is_not_finite():
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    inputs = small_models.make_inputs(config, count=2)
    kernel = model.encoder.blocks[1].attention.query.kernel
    kernel.assign(kernel * np.float32(1e38) * 10)
    with pytest.raises(ValueError, match="layer_1/attention/query is not fin"):
        _calibrated(model, inputs)


def test_trained_range_without_tensor():
    config = small_models.CONFIGS["mobilebert"]
    model = small_models.make_classifier(config)
    float_model = conversion.convert(inference_graph.module_of(model, _LENGTH))
    trained = {"layer_7/attention/query": ranges_lib.Range(-1.0, 1.0)}
    with pytest.raises(ValueError, match="'layer_7/attention/query'.*none"):
        trained_ranges.ranges_for(float_model, trained)


def test_checkpoint_without_ranges(tmp_path):
    model = small_models.make_classifier(small_models.CONFIGS["mobilebert"])
    assert _read_ranges(model, tmp_path) == {}
