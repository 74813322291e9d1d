"""Experiments: precedence of their sources, and what a stage needs."""

import json
import pathlib

import pytest
import yaml
from official.modeling import optimization

from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.experiments import pretraining_config

_RATE = (
    "trainer.optimizer_config.learning_rate.polynomial.initial_learning_rate"
)
_CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@pytest.fixture(name="write_yaml")
def _write_yaml(tmp_path):
    """Returns a function from file name and text to a path."""

    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def _build(config_files=(), params_override="", **flag_overrides):
    return experiment_builder.build(
        pretraining_config.pretraining(),
        list(config_files),
        params_override,
        {key.replace("__", "."): v for key, v in flag_overrides.items()},
    )


def test_each_source_wins_over_those_before(write_yaml):
    """Defaults, first file, second file, --params_override, flags."""
    first = write_yaml(
        "first.yaml",
        "task: {seed: 1, teacher_dir: one, model: {preset: one}}\n"
        "trainer: {train_steps: 1}\n",
    )
    second = write_yaml(
        "second.yaml",
        "task: {seed: 2, teacher_dir: two}\ntrainer: {train_steps: 2}\n",
    )
    params = _build(
        [first, second],
        "task.seed=3,trainer.train_steps=3",
        trainer__train_steps=4,
    )
    assert params.trainer.train_steps == 4  # flag
    assert params.task.seed == 3  # --params_override
    assert params.task.teacher_dir == "two"  # second file
    assert params.task.model.preset == "one"  # first file
    assert params.task.distillation.temperature == 1.0  # default


def test_nothing_given_is_the_default():
    assert _build().as_dict() == pretraining_config.pretraining().as_dict()


def test_defaults_are_not_modified(write_yaml):
    defaults = pretraining_config.pretraining()
    before = defaults.as_dict()
    path = write_yaml("x.yaml", "task: {model: {preset: micro}}\n")
    flags = {"task.seed": 9, _RATE: 0.5}
    params = experiment_builder.build(defaults, [path], "task.seed=8", flags)
    assert defaults.as_dict() == before != params.as_dict()
    assert flags == {"task.seed": 9, _RATE: 0.5}
    assert pretraining_config.pretraining().as_dict() == before


def test_numbers_without_a_dot(write_yaml):
    """YAML 1.1 reads 1e-4 as a string; here it is a rate."""
    nested = f"{_RATE}=3e-4"
    assert yaml.safe_load("3e-4") == "3e-4"
    polynomial = _build(
        params_override=nested
    ).trainer.optimizer_config.learning_rate.get()
    assert polynomial.initial_learning_rate == 3e-4
    path = write_yaml("x.yaml", "task: {distillation: {temperature: 2e0}}\n")
    assert _build([path]).task.distillation.temperature == 2.0


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "task: {modle: {preset: x}}",
            "unknown key 'task.modle'; did you mean task.model?",
        ),
        (
            "task: {train_data: {input_file: x}}",
            "unknown key 'task.train_data.input_file'; did you mean "
            "task.train_data.input_path?",
        ),
        ("trainer: {train_steps: many}", "trainer.train_steps: expected int"),
        ("task: micro", "task: expected a mapping, got 'micro'"),
    ],
)
def test_mistakes_name_their_source(write_yaml, text, message):
    path = write_yaml("x.yaml", text)
    with pytest.raises(ValueError) as info:
        _build([path])
    assert str(info.value).startswith(f"{path}: {message}")
    override = json.dumps(yaml.safe_load(text))
    with pytest.raises(ValueError) as info:
        _build(params_override=override)
    assert str(info.value).startswith(f"--params_override: {message}")


def test_mistaken_flag_value():
    with pytest.raises(ValueError, match="^flags: task.seed: expected int"):
        _build(task__seed="one")


def test_absent_file():
    with pytest.raises(ValueError, match="--config_file=/no/x.yaml: .*no such"):
        _build(["/no/x.yaml"])


@pytest.mark.parametrize(
    "params_override",
    [
        "",
        "task.seed=3,task.teacher_dir=x,trainer.train_steps=7",
        "trainer.optimizer_config.optimizer.type=adamw,"
        "trainer.optimizer_config.optimizer.adamw.weight_decay_rate=0.25,"
        "trainer.optimizer_config.warmup.type=",
    ],
)
def test_written_params_repeat_the_run(tmp_path, params_override):
    params = _build(params_override=params_override)
    experiment_builder.write_params(params, str(tmp_path / "run"))
    path = str(tmp_path / "run" / experiment_builder.PARAMS_FILE)
    assert _build([path]).as_dict() == params.as_dict()


@pytest.mark.parametrize(
    "path",
    [
        path
        for stage in ("pretraining", "distillation", "glue")
        for path in sorted((_CONFIGS / stage).glob("*.yaml"))
    ],
    ids=lambda path: path.stem,
)
def test_shipped_configs_are_accepted(path):
    defaults = (
        classification_config.classification()
        if path.parent.name == "glue"
        else pretraining_config.pretraining()
    )
    params = experiment_builder.build(defaults, [str(path)], "", {})
    assert params.as_dict() != defaults.as_dict()


def test_defaults_are_the_published_recipes():
    """Reference: LAMB 1.5e-3, 500k steps; AdamW 5e-5, three epochs."""
    params = pretraining_config.pretraining()
    optimizer = params.trainer.optimizer_config
    assert optimizer.optimizer.type == "lamb"
    rate = optimizer.learning_rate.get()
    assert rate.initial_learning_rate == 1.5e-3
    assert rate.end_learning_rate == pytest.approx(1e-4 * 1.5e-3)
    assert optimizer.warmup.get().warmup_steps == 10_000
    assert params.trainer.train_steps == 500_000
    assert params.task.knowledge_transfer.num_steps == 240_000
    assert params.task.distillation.ground_truth_ratio == 0.5
    transfer = params.task.knowledge_transfer.optimizer_config
    rate = transfer.learning_rate.get()
    assert rate.initial_learning_rate == rate.end_learning_rate == 1.5e-3

    params = classification_config.classification()
    optimizer = params.trainer.optimizer_config
    assert optimizer.optimizer.type == "adamw"
    rate = optimizer.learning_rate.get()
    assert rate.initial_learning_rate == 5e-5
    assert rate.end_learning_rate == pytest.approx(1e-4 * 5e-5)
    assert params.task.num_train_epochs == 3.0
    assert params.task.warmup_proportion == 0.1
    for config in (optimizer, transfer):
        adaptive = config.optimizer.get()
        assert adaptive.weight_decay_rate == 0.01
        assert adaptive.exclude_from_weight_decay == ["LayerNorm", "bias"]


def test_stage_length_fills_in_decay_and_leaves_the_original():
    config = optimization_config.lamb(1e-3, 0.0, warmup_steps=10)
    completed = optimization_config.complete(config, num_steps=70)
    assert completed.learning_rate.get().decay_steps == 70
    assert completed.warmup.get().warmup_steps == 10
    assert config.learning_rate.get().decay_steps is None
    given = config.replace(learning_rate={"polynomial": {"decay_steps": 50}})
    completed = optimization_config.complete(given, num_steps=70)
    assert completed.learning_rate.get().decay_steps == 50


@pytest.mark.parametrize(
    "own, given, expected",
    [(10, None, 10), (10, 5, 10), (0, 5, 5), (0, 0, None), (0, None, None)],
)
def test_warmup(own, given, expected):
    """The config's own first; none at all is removed, not divided by."""
    config = optimization_config.adamw(1e-3, 0.0, warmup_steps=own)
    completed = optimization_config.complete(config, 70, given)
    warmup = completed.warmup.get()
    assert (warmup and warmup.warmup_steps) == expected
    assert config.warmup.get().warmup_steps == own


def test_schedules_without_decay_and_without_warmup():
    config = optimization_config.lamb(1e-3, 0.0, warmup_steps=0)
    config = config.replace(
        learning_rate={"type": "constant", "constant": {"learning_rate": 0.1}},
        warmup={"type": None},
    )
    completed = optimization_config.complete(config, 70, 5)
    assert completed.as_dict() == config.as_dict()


def test_rates_of_a_completed_schedule():
    """Linear up to the rate that the decay has reached, then with it down."""
    config = optimization_config.adamw(1.0, 0.0, warmup_steps=4)
    completed = optimization_config.complete(config, num_steps=20)
    schedule = optimization.OptimizerFactory(completed).build_learning_rate()
    for step, rate in ((0, 0.0), (2, 0.4), (4, 0.8), (10, 0.5), (20, 0.0)):
        assert float(schedule(step)) == pytest.approx(rate, abs=1e-6), step


def test_warmup_as_long_as_the_stage_is_refused():
    """Whether its own or the proportion's: the rate would never be reached."""
    config = optimization_config.lamb(1e-3, 0.0, warmup_steps=69)
    completed = optimization_config.complete(config, num_steps=70)
    assert completed.warmup.get().warmup_steps == 69
    for own, given in ((70, None), (71, None), (0, 70)):
        config = optimization_config.lamb(1e-3, 0.0, warmup_steps=own)
        with pytest.raises(ValueError, match="never ends within a stage of 70"):
            optimization_config.complete(config, 70, given)


@pytest.mark.parametrize(
    "key, value",
    [
        ("trainer.optimizer_config.ema.average_decay", 0.5),
        ("trainer.loss_upper_bound", 3.0),
        ("runtime.run_eagerly", True),
        ("task.validation_data.is_training", True),
    ],
)
def test_fields_that_nothing_follows_are_refused(key, value):
    """The Garden's configs have them; to ignore them would be a trap."""
    with pytest.raises(ValueError, match=" is not supported here, expected "):
        experiment_builder.build(
            pretraining_config.pretraining(), [], "", {key: value}
        )


def _continue(tmp_path, before, now):
    experiment_builder.write_params(
        _build(params_override=before), str(tmp_path)
    )
    experiment_builder.check_continues(
        _build(params_override=now), str(tmp_path)
    )


@pytest.mark.parametrize(
    "before, now",
    [
        ("task.seed=1", "task.seed=1"),
        ("trainer.train_steps=10", "trainer.train_steps=20"),
        ("task.teacher_dir=a", "task.teacher_dir=b"),
        ("task.train_data.input_path=a", "task.train_data.input_path=b"),
        ("", "task.validation_data.global_batch_size=3"),
        ("", "task.gradient_accumulation_steps=2"),
    ],
)
def test_runs_that_may_go_on(tmp_path, before, now):
    _continue(tmp_path, before, now)
    # Nothing to compare with is no obstacle either.
    params = _build(params_override=now)
    experiment_builder.check_continues(params, str(tmp_path / "fresh"))
    assert not (tmp_path / "fresh").exists()


@pytest.mark.parametrize(
    "key, before, now",
    [
        ("task.seed", 1, 2),
        ("task.distillation.temperature", 1.0, 2.0),
        ("task.train_data.global_batch_size", 8, 16),
        ("task.knowledge_transfer.num_steps", 5, 6),
        ("task.knowledge_transfer.strategy", "'joint'", "'none'"),
        ("trainer.optimizer_config.optimizer.type", "'lamb'", "'adamw'"),
        ("task.teacher_dir", "'a'", "''"),
    ],
)
def test_another_task_does_not_continue(tmp_path, key, before, now):
    with pytest.raises(ValueError) as info:
        _continue(tmp_path, f"{key}={before}", f"{key}={now}")
    assert str(info.value) == (
        f"{key} is {before} in {tmp_path}/params.yaml, this run has {now}; "
        "choose another --model_dir"
    )


def test_a_record_of_an_earlier_version(tmp_path):
    """It lacks a field; the run had what is its default now."""
    params = _build()
    experiment_builder.write_params(params, str(tmp_path))
    path = tmp_path / "params.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(x for x in lines if "teacher_precision" not in x))
    experiment_builder.check_continues(params, str(tmp_path))
    with pytest.raises(ValueError, match="teacher_precision is 'float32' in"):
        experiment_builder.check_continues(
            _build(params_override="task.distillation.teacher_precision=int8"),
            str(tmp_path),
        )


def test_other_rates_are_told(tmp_path, caplog):
    key = "trainer.optimizer_config.learning_rate.polynomial"
    _continue(tmp_path, "", f"{key}.initial_learning_rate=0.1")
    assert (
        f"{key}.initial_learning_rate was 0.0015 in {tmp_path}/params.yaml, "
        "now 0.1"
    ) in caplog.text


def test_the_recorded_task_comes_before_what_is_given(tmp_path):
    recorded = _build(
        params_override="task.seed=3,task.distillation.temperature=2.0"
    )
    experiment_builder.write_params(recorded, str(tmp_path))
    params = experiment_builder.with_recorded_task(
        pretraining_config.pretraining(), str(tmp_path)
    )
    assert (params.task.seed, params.task.distillation.temperature) == (3, 2.0)
    fresh = experiment_builder.with_recorded_task(
        pretraining_config.pretraining(), str(tmp_path / "none")
    )
    assert fresh.task.seed == 0
