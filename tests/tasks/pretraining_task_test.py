"""The pre-training task, stage by stage, on a tiny pair and one batch."""

import dataclasses

import numpy as np
import pytest
import small_networks
import tensorflow as tf
from scipy import special

from mobilebert_tf.data import pretraining as pretraining_data
from mobilebert_tf.distillation import schedule
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import pretraining as tasks

_NUM_BLOCKS = 2
_STUDENT = dataclasses.replace(
    small_networks.CONFIGS["mobilebert"],
    num_hidden_layers=_NUM_BLOCKS,
    num_feedforward_networks=1,
)
# Two blocks for each of the student's.
_TEACHER = dataclasses.replace(
    small_networks.CONFIGS["teacher"], num_hidden_layers=2 * _NUM_BLOCKS
)
_MAPPING = (1, 3)
_OFFICIAL = dict(
    feature_map_loss="normalized",
    feature_map_factor=100.0,
    mean_factor=5000.0,
    variance_factor=5.0,
    loss_scale="num_blocks",
    include_padding=True,
)


@pytest.fixture(scope="module", name="teacher")
def _teacher():
    teacher = models.MobileBertForPreTraining(_TEACHER)
    teacher.build_weights()
    small_networks.randomize(teacher, seed=1)
    teacher.trainable = False
    return teacher


@pytest.fixture(scope="module", name="inputs")
def _inputs():
    generator = np.random.default_rng(5)
    inputs = small_networks.make_inputs(_STUDENT)
    inputs.update(
        masked_lm_positions=np.array([[1, 3], [2, 4], [1, 2], [3, 0]]),
        masked_lm_ids=generator.integers(0, _STUDENT.vocab_size, [4, 2]),
        masked_lm_weights=np.array([[1, 1], [1, 1], [1, 1], [1, 0]]),
        next_sentence_labels=np.array([[0], [1], [1], [0]]),
    )
    return {
        name: tf.constant(
            value, tf.float32 if name.endswith("weights") else tf.int32
        )
        for name, value in inputs.items()
    }


def _make(teacher, stage_name, defects=None, distillation=None, **transfer):
    """Returns the task of a stage and a student."""
    transfer.setdefault("num_steps", 30)
    optimizer = transfer.pop("optimizer", optimization_config.lamb)
    params = pretraining_config.PretrainingTaskConfig(
        teacher_dir="teacher" if teacher else "",
        knowledge_transfer=pretraining_config.KnowledgeTransferConfig(
            layer_mapping="every_k",
            optimizer_config=optimizer(0.01, 0.01, warmup_steps=0),
            **transfer,
        ),
        distillation=pretraining_config.DistillationConfig(
            **(distillation or {})
        ),
        official_defects=pretraining_config.OfficialDefectsConfig(
            **(defects or {})
        ),
    )
    stages = {
        stage.name: stage
        for stage in schedule.build(params, _NUM_BLOCKS, pretraining_steps=10)
    }
    task = tasks.PretrainingTask(
        params, _STUDENT, stages[stage_name], teacher, _MAPPING
    )
    model = task.build_model()
    small_networks.randomize(model, seed=2)
    return task, model


def _optimizer(task):
    return task.create_optimizer(
        optimization_config.complete(
            task.task_config.knowledge_transfer.optimizer_config,
            task.stage.num_steps,
        )
    )


def _loss(task, model, inputs, training=True):
    loss, terms = task.compute_loss(inputs, model, training=training)
    values = {name: float(value) for name, (value, _) in terms.items()}
    return float(loss), values


def _parts(before, model):
    """Returns the parts of the student that have changed."""
    changed = set()
    for variable, value in zip(model.weights, before, strict=True):
        if (variable.numpy() != value).any():
            path = variable.name.split("/")[1:]
            changed.add(path[1] if path[0] == "bert" else path[0])
    return changed


_BLOCKS = {f"layer_{i}" for i in range(_NUM_BLOCKS)}
_ALL = {"embeddings", *_BLOCKS, "cls_predictions", "cls_seq_relationship"}


@pytest.mark.parametrize(
    "stage, transfer, expected",
    [
        ("transfer_0", {}, {"layer_0"}),
        ("transfer_1", {}, {"layer_1"}),
        ("transfer_1", dict(lower_blocks_rate=0.3), {"layer_0", "layer_1"}),
        ("transfer_1", dict(embeddings_rate=1.0), {"embeddings", "layer_1"}),
        ("transfer", dict(strategy="joint"), _BLOCKS),
        ("pretraining", dict(strategy="auxiliary"), _ALL),
        ("pretraining", dict(strategy="none"), _ALL),
        (
            "transfer_0",
            dict(optimizer=optimization_config.adamw),
            {"layer_0"},
        ),
        (
            "transfer_0",
            dict(
                optimizer=optimization_config.adamw,
                defects=dict(adamw_ignores_rates=True),
            ),
            {"embeddings", *_BLOCKS},
        ),
    ],
)
def test_a_stage_changes_what_it_should(
    teacher, inputs, stage, transfer, expected
):
    task, model = _make(teacher, stage, **transfer)
    optimizer = _optimizer(task)
    before = model.get_weights()
    taught = teacher.get_weights()
    task.train_step(inputs, model, optimizer)
    assert _parts(before, model) == expected
    for one, other in zip(taught, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_teacher_everything_learns_with_dropout(inputs):
    task, model = _make(None, "pretraining")
    optimizer = _optimizer(task)
    before = model.get_weights()
    task.train_step(inputs, model, optimizer)
    assert _parts(before, model) == _ALL
    first, second = (_loss(task, model, inputs)[0] for _ in range(2))
    assert first != second


def test_with_teacher_there_is_no_dropout(teacher, inputs):
    for stage, strategy in (("transfer_1", ""), ("pretraining", "auxiliary")):
        task, model = _make(teacher, stage, strategy=strategy)
        first, second = (_loss(task, model, inputs)[0] for _ in range(2))
        assert first == second


class _Reference:
    """The losses again, in NumPy and float64, from the networks' outputs."""

    def __init__(self, teacher, student, inputs):
        self.taught = teacher(inputs, training=False)
        self.outputs = student(inputs, training=False)
        self.inputs = {name: value.numpy() for name, value in inputs.items()}

    def feature_maps(self, block):
        """Returns the teacher's and the student's, [B, S, H]."""
        return (
            self._array(self.taught["encoder_outputs"][_MAPPING[block] + 1]),
            self._array(self.outputs["encoder_outputs"][block + 1]),
        )

    def all_taught(self):
        return [self._array(x) for x in self.taught["encoder_outputs"]]

    def attention(self, block):
        """Returns KL(teacher || student) of each row, [B, N, S]."""
        teacher = special.log_softmax(
            self._array(self.taught["attention_scores"][_MAPPING[block]]), -1
        )
        student = special.log_softmax(
            self._array(self.outputs["attention_scores"][block]), -1
        )
        return (np.exp(teacher) * (teacher - student)).sum(-1)

    def mean(self, values, padding):
        """Averages values [B, S]."""
        mask = self.inputs["input_mask"].astype(bool)
        return values.mean() if padding else values[mask].mean()

    def masked_lm(self, log_probabilities):
        """Returns the cross-entropy with the tokens' own labels."""
        chosen = np.take_along_axis(
            log_probabilities, self.inputs["masked_lm_ids"][..., np.newaxis], -1
        )[..., 0]
        return -chosen[self.inputs["masked_lm_weights"] == 1].mean()

    def distillation(self, teacher_logits, student_logits):
        teacher = special.log_softmax(self._array(teacher_logits), -1)
        student = special.log_softmax(self._array(student_logits), -1)
        divergence = (np.exp(teacher) * (teacher - student)).sum(-1)
        return divergence[self.inputs["masked_lm_weights"] == 1].mean()

    @staticmethod
    def _array(tensor):
        return np.asarray(tensor, np.float64)


def _normalized(x):
    return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)


@pytest.mark.parametrize("padding", [False, True])
def test_paper_losses_of_a_block(teacher, inputs, padding):
    task, model = _make(
        teacher,
        "transfer_1",
        include_padding=padding,
        feature_map_factor=2.0,
        attention_factor=3.0,
    )
    reference = _Reference(teacher, model, inputs)
    target, value = reference.feature_maps(1)
    feature_map = reference.mean(((target - value) ** 2).mean(-1), padding)
    attention = reference.mean(reference.attention(1).mean(1), padding)
    loss, terms = _loss(task, model, inputs)
    assert terms == pytest.approx(
        {
            "feature_map_loss": feature_map,
            "attention_loss": attention,
            "feature_map_loss/block_1": feature_map,
            "attention_loss/block_1": attention,
        },
        rel=1e-4,
    )
    assert loss == pytest.approx(2 * feature_map + 3 * attention, rel=1e-4)


def _official(reference, block, all_teachers=False):
    """Returns the four terms of a block as the official code has them."""
    target, value = reference.feature_maps(block)
    teachers = reference.all_taught() if all_teachers else [target]
    return {
        "feature_map_loss": (
            (_normalized(target) - _normalized(value)) ** 2
        ).mean(),
        "attention_loss": reference.attention(block).mean(),
        "mean_loss": np.mean(
            [(each.mean(-1) - value.mean(-1)) ** 2 for each in teachers]
        ),
        "variance_loss": np.mean(
            [np.abs(each.var(-1) - value.var(-1)) for each in teachers]
        ),
    }


@pytest.mark.parametrize("all_teachers", [False, True])
def test_official_losses_of_a_block(teacher, inputs, all_teachers):
    """And defect 4.2.1: mean and variance against all teacher tensors."""
    task, model = _make(
        teacher,
        "transfer_1",
        defects=dict(all_teacher_blocks_in_moments=all_teachers),
        **_OFFICIAL,
    )
    reference = _Reference(teacher, model, inputs)
    expected = _official(reference, 1, all_teachers)
    loss, terms = _loss(task, model, inputs)
    assert {
        name: terms[name] for name in terms if "/" not in name
    } == pytest.approx(expected, rel=1e-4)
    factors = dict(
        feature_map_loss=100, attention_loss=1, mean_loss=5000, variance_loss=5
    )
    total = sum(factors[name] * value for name, value in expected.items())
    assert loss == pytest.approx(total / _NUM_BLOCKS, rel=1e-4)


def test_joint_and_auxiliary_losses_are_sums(teacher, inputs):
    task, model = _make(teacher, "transfer", strategy="joint")
    reference = _Reference(teacher, model, inputs)
    blocks = []
    for block in range(_NUM_BLOCKS):
        target, value = reference.feature_maps(block)
        blocks.append(
            reference.mean(((target - value) ** 2).mean(-1), False)
            + reference.mean(reference.attention(block).mean(1), False)
        )
    loss, terms = _loss(task, model, inputs)
    assert loss == pytest.approx(sum(blocks), rel=1e-4)
    assert terms["feature_map_loss"] + terms["attention_loss"] == pytest.approx(
        loss, rel=1e-4
    )

    auxiliary, _ = _make(teacher, "pretraining", strategy="auxiliary")
    distilled, _ = _make(teacher, "pretraining", strategy="none")
    both, its_terms = _loss(auxiliary, model, inputs)
    alone, other_terms = _loss(distilled, model, inputs)
    assert both == pytest.approx(alone + loss, rel=1e-4)
    assert its_terms == pytest.approx({**terms, **other_terms}, rel=1e-4)


def test_distillation_loss(teacher, inputs):
    """alpha L_MLM + (1 - alpha) L_KD + L_NSP; temperature on both logits."""
    task, model = _make(
        teacher,
        "pretraining",
        strategy="none",
        distillation=dict(ground_truth_ratio=0.3, temperature=2.0),
    )
    reference = _Reference(teacher, model, inputs)
    teacher_logits, student_logits = (
        outputs["masked_lm_logits"].numpy()
        for outputs in (reference.taught, reference.outputs)
    )
    masked_lm = reference.masked_lm(special.log_softmax(student_logits, -1))
    divergence = 4 * reference.distillation(
        teacher_logits / 2, student_logits / 2
    )
    sentences = special.log_softmax(
        reference.outputs["next_sentence_logits"].numpy(), -1
    )
    labels = reference.inputs["next_sentence_labels"][:, 0]
    sentence = -sentences[np.arange(4), labels].mean()
    loss, terms = _loss(task, model, inputs)
    assert terms["distillation_loss"] == pytest.approx(divergence, rel=1e-4)
    assert terms["masked_lm_loss"] == pytest.approx(masked_lm, rel=1e-4)
    assert loss == pytest.approx(
        0.3 * masked_lm + 0.7 * divergence + sentence, rel=1e-4
    )


def test_a_teacher_in_integers(teacher, inputs):
    """Another loss, by less than 1 %; the teacher's floats are kept."""
    losses = {}
    for precision in ("float32", "int8", "float32"):
        task, model = _make(
            teacher,
            "pretraining",
            strategy="none",
            distillation=dict(teacher_precision=precision),
        )
        loss, terms = _loss(task, model, inputs)
        losses.setdefault(precision, (loss, terms["distillation_loss"]))
    assert (loss, terms["distillation_loss"]) == losses["float32"]
    assert losses["int8"] != losses["float32"]
    assert losses["int8"][0] == pytest.approx(losses["float32"][0], rel=0.01)
    assert losses["int8"][1] == pytest.approx(losses["float32"][1], rel=0.03)


def test_a_teacher_of_feature_maps_stays_in_floats(teacher, inputs):
    losses = []
    for precision in ("float32", "int8"):
        task, model = _make(
            teacher,
            "pretraining",
            strategy="auxiliary",
            distillation=dict(teacher_precision=precision),
        )
        losses.append(_loss(task, model, inputs)[0])
    assert losses[0] == losses[1]


def test_a_ratio_of_1_needs_no_teacher(teacher, inputs):
    task, model = _make(
        teacher,
        "pretraining",
        strategy="none",
        distillation=dict(ground_truth_ratio=1.0),
    )
    loss, terms = _loss(task, model, inputs)
    assert "distillation_loss" not in terms
    assert loss == pytest.approx(
        terms["masked_lm_loss"] + terms["next_sentence_loss"], rel=1e-4
    )


def test_official_temperature(teacher, inputs):
    """Defect 4.2.2: times the teacher's hidden state, not the student's."""
    task, model = _make(
        teacher,
        "pretraining",
        strategy="none",
        defects=dict(temperature_on_teacher_hidden=True),
        distillation=dict(temperature=0.1),
    )
    reference = _Reference(teacher, model, inputs)
    logits = teacher.masked_lm(
        0.1 * reference.taught["sequence_output"],
        word_table=teacher.encoder.embeddings.word_table,
        positions=inputs["masked_lm_positions"],
    )
    expected = reference.distillation(
        logits, reference.outputs["masked_lm_logits"]
    )
    _, terms = _loss(task, model, inputs)
    assert terms["distillation_loss"] == pytest.approx(expected, rel=1e-4)
    plain = reference.distillation(
        reference.taught["masked_lm_logits"],
        reference.outputs["masked_lm_logits"],
    )
    assert terms["distillation_loss"] != pytest.approx(plain, rel=1e-3)


def test_official_gates(teacher, inputs):
    """No loss at step 0, the block before at the first step of the others."""
    late = dict(late_transfer_loss=True)
    for block in (0, 1):
        task, model = _make(teacher, f"transfer_{block}", defects=late)
        optimizer = _optimizer(task)
        reference = _Reference(teacher, model, inputs)
        values = []
        for each in (0, 1):
            target, value = reference.feature_maps(each)
            values.append(
                reference.mean(((target - value) ** 2).mean(-1), False)
                + reference.mean(reference.attention(each).mean(1), False)
            )
        loss, _ = _loss(task, model, inputs)
        assert loss == pytest.approx(values[0] if block else 0.0, rel=1e-4)
        optimizer.iterations.assign(1)
        loss, _ = _loss(task, model, inputs)
        assert loss == pytest.approx(values[block], rel=1e-4)


def test_official_gates_of_a_shared_optimizer(teacher, inputs):
    task, model = _make(
        teacher,
        "transfer_0",
        defects=dict(late_transfer_loss=True),
        reset_moments=False,
    )
    task.stage = dataclasses.replace(task.stage, optimizer_offset=7)
    optimizer = _optimizer(task)
    for step, is_zero in ((7, True), (8, False)):
        optimizer.iterations.assign(step)
        assert (_loss(task, model, inputs)[0] == 0) == is_zero


def test_official_adamw_decays_idle_blocks(teacher, inputs):
    """Blocks without a loss lose weight, 1 % of the rate at a step."""
    task, model = _make(
        teacher,
        "transfer_0",
        optimizer=optimization_config.adamw,
        defects=dict(adamw_ignores_rates=True),
    )
    kernel = model.encoder.blocks[1].attention.query.kernel
    before = kernel.numpy()
    task.train_step(inputs, model, _optimizer(task))
    np.testing.assert_allclose(
        kernel.numpy(), before * (1 - 0.01 * 0.01), rtol=1e-5
    )


def test_official_random_teacher_gives_the_student_nothing(teacher):
    for defective in (False, True):
        task, model = _make(
            teacher,
            "pretraining",
            strategy="none",
            defects=dict(random_teacher_without_transfer=defective),
        )
        before = model.get_weights()
        task.initialize(model)
        assert bool(_parts(before, model)) != defective


def test_validation_of_a_transfer_stage(teacher, inputs):
    """All blocks and the pre-training losses, whatever block learns."""
    task, model = _make(teacher, "transfer_0")
    _, terms = _loss(task, model, inputs, training=False)
    names = {metric.name for metric in task.build_metrics(training=False)}
    assert names == set(terms)
    blocks = [
        f"{name}/block_{block}"
        for name in ("feature_map_loss", "attention_loss")
        for block in range(_NUM_BLOCKS)
    ]
    assert names == {
        *blocks,
        "feature_map_loss",
        "attention_loss",
        "masked_lm_loss",
        "masked_lm_accuracy",
        "next_sentence_loss",
        "next_sentence_accuracy",
    }
    assert terms["attention_loss"] == pytest.approx(
        sum(terms[f"attention_loss/block_{i}"] for i in range(_NUM_BLOCKS)),
        rel=1e-4,
    )


@pytest.mark.parametrize(
    "stage, strategy",
    [("transfer_1", ""), ("transfer", "joint"), ("pretraining", "auxiliary")],
)
def test_metrics_are_the_terms_and_means_over_batches(
    teacher, inputs, stage, strategy
):
    """Batches of other sizes: their weights count, as in one large batch."""
    task, model = _make(teacher, stage, strategy=strategy)
    _, expected = _loss(task, model, inputs, training=False)
    metrics = task.build_metrics(training=False)
    for part in (slice(0, 1), slice(1, 4)):
        batch = {name: value[part] for name, value in inputs.items()}
        task.validation_step(batch, model, metrics)
    measured = {metric.name: float(metric.result()) for metric in metrics}
    assert measured == pytest.approx(expected, rel=1e-4)
    names = {metric.name for metric in task.build_metrics(training=True)}
    assert names == set(_loss(task, model, inputs)[1])


def test_each_stage_reads_on_in_its_own_data(monkeypatch):
    """4 steps of transfer, 6 on the first data, 9 on the main data."""
    params = pretraining_config.PretrainingTaskConfig(
        teacher_dir="teacher",
        knowledge_transfer=pretraining_config.KnowledgeTransferConfig(
            num_steps=4
        ),
        first_train_steps=6,
        first_train_data=pretraining_config.PretrainingDataConfig(
            input_path="first", max_seq_length=8
        ),
        train_data=pretraining_config.PretrainingDataConfig(
            input_path="main", max_seq_length=12
        ),
    )
    calls = []

    def make_dataset(paths, *, max_seq_length, start_batch, **kwargs):
        calls.append((paths, max_seq_length, start_batch))
        return tf.data.Dataset.range(1)

    monkeypatch.setattr(pretraining_data, "make_dataset", make_dataset)
    for stage in schedule.build(params, _NUM_BLOCKS, pretraining_steps=9):
        task = tasks.PretrainingTask(
            params, _STUDENT, stage, start_step=stage.start_step + 1
        )
        task.build_inputs(params.train_data)
    assert calls == [
        (["main"], 12, 1),
        (["main"], 12, 3),
        (["first"], 8, 1),
        (["main"], 12, 5),
    ]


def _trace(task, model, inputs):
    """Traces loss and gradients as a training step does.

    The tape watches all variables: that nothing frozen is differentiated must
    not depend on how the gradients are asked for.

    Returns the variables in use, and the number of products of matrices in
    the forward and in the backward pass.
    """
    counts = []

    def count():
        operations = tf.compat.v1.get_default_graph().get_operations()
        counts.append(sum("MatMul" in each.type for each in operations))

    @tf.function
    def step(inputs):
        with tf.GradientTape() as tape:
            loss = task.compute_loss(inputs, model, training=True)[0]
        count()
        gradients = tape.gradient(loss, task.trainable_variables(model))
        count()
        return gradients

    graph = step.get_concrete_function(inputs).graph
    used = {variable.ref() for variable in graph.variables}
    return used, counts[0], counts[1] - counts[0]


def test_cost_of_a_stage_follows_its_block(teacher, inputs):
    forward, backward = {}, {}
    for block in range(_NUM_BLOCKS):
        task, model = _make(teacher, f"transfer_{block}")
        used, forward[block], backward[block] = _trace(task, model, inputs)
        for network, num_used in (
            (model, block + 1),
            (teacher, _MAPPING[block] + 1),
        ):
            for i, each in enumerate(network.encoder.blocks):
                needed = {variable.ref() for variable in each.weights} & used
                assert bool(needed) == (i < num_used)
    # A block more forward, and one block back in either stage.
    assert forward[1] > 1.5 * forward[0]
    assert backward[1] == backward[0] > 0
    # Lower blocks that learn are differentiated.
    task, model = _make(teacher, "transfer_1", lower_blocks_rate=0.3)
    _, _, both = _trace(task, model, inputs)
    assert both > 1.9 * backward[0]
