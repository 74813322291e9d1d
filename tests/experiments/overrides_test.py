"""Strict replacement of nested fields: what is taken, and what is refused."""

import dataclasses

import pytest
from official.modeling.hyperparams import base_config
from official.modeling.hyperparams import oneof

from mobilebert_tf import files
from mobilebert_tf.experiments import overrides


@dataclasses.dataclass
class _Inner(base_config.Config):
    rate: float = 0.5
    steps: int = 10
    name: str = "x"
    flag: bool = False
    names: list[str] = dataclasses.field(default_factory=lambda: ["a"])
    free: float | None = None


@dataclasses.dataclass
class _Choice(oneof.OneOfConfig):
    type: str = "first"
    first: _Inner = dataclasses.field(default_factory=_Inner)
    second: _Inner = dataclasses.field(default_factory=_Inner)


@dataclasses.dataclass
class _Outer(base_config.Config):
    inner: _Inner = dataclasses.field(default_factory=_Inner)
    choice: _Choice = dataclasses.field(default_factory=_Choice)
    top: int = 1


def _apply(values):
    params = _Outer()
    overrides.apply(params, values, source="here")
    return params


@pytest.mark.parametrize(
    "field, given, expected",
    [
        ("rate", 0.25, 0.25),
        ("rate", 2, 2.0),
        ("rate", "1e-4", 1e-4),  # as YAML 1.1 reads it
        ("rate", "-3", -3.0),
        ("steps", 7, 7),
        ("name", "y", "y"),
        ("name", None, None),
        ("flag", True, True),
        ("names", ["b", "c"], ["b", "c"]),
        ("names", ("b",), ["b"]),
        ("names", [], []),
        ("free", 0.5, 0.5),
    ],
)
def test_values_of_the_right_type(field, given, expected):
    value = getattr(_apply({"inner": {field: given}}).inner, field)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    "field, given, message",
    [
        ("rate", "fast", "expected a number, got 'fast'"),
        ("rate", True, "expected float, got True"),
        ("rate", [1.0], "expected float, got [1.0]"),
        ("steps", 1.5, "expected int, got 1.5"),
        ("steps", "7", "expected int, got '7'"),
        ("steps", True, "expected int, got True"),
        ("steps", None, "expected int, got None"),  # a key without a value
        ("rate", None, "expected float, got None"),
        ("flag", None, "expected bool, got None"),
        ("steps", {"x": 1}, "expected int, got {'x': 1}"),
        ("name", 7, "expected str, got 7"),
        ("flag", 1, "expected bool, got 1"),
        ("flag", "false", "expected bool, got 'false'"),
        ("names", "b", "expected list, got 'b'"),
        ("names", [["b"]], "expected a list of plain values, got [['b']]"),
    ],
)
def test_values_of_the_wrong_type(field, given, message):
    with pytest.raises(ValueError) as info:
        _apply({"inner": {field: given}})
    assert str(info.value) == f"here: inner.{field}: {message}"


@pytest.mark.parametrize(
    "values, message",
    [
        ({"iner": {}}, "unknown key 'iner'; did you mean inner?"),
        (
            {"inner": {"step": 1}},
            "unknown key 'inner.step'; did you mean inner.steps?",
        ),
        ({"inner": {"qqqqq": 1}}, "unknown key 'inner.qqqqq'"),
        ({"inner.rate": 1}, "unknown key 'inner.rate'; did you mean inner?"),
        ({3: 1}, "unknown key '3'"),
        ({"inner": 3}, "inner: expected a mapping, got 3"),
        ({"inner": None}, "inner: expected a mapping, got None"),
        ({"choice": {"third": {}}}, "unknown key 'choice.third'"),
        (
            {"choice": {"type": "third"}},
            "choice.type: expected one of first, second, got 'third'",
        ),
    ],
)
def test_keys_that_do_not_exist(values, message):
    with pytest.raises(ValueError) as info:
        _apply(values)
    assert str(info.value) == f"here: {message}"


def test_all_or_nothing():
    """An error in a later key leaves the earlier ones as they were."""
    params = _Outer()
    with pytest.raises(ValueError, match="unknown key 'zzz'"):
        overrides.apply(params, {"top": 5, "zzz": 1}, source="here")
    assert params == _Outer()


def test_alternatives():
    """One may be chosen and filled in at once; None chooses none."""
    params = _apply({"choice": {"type": "second", "second": {"steps": 3}}})
    assert params.choice.get().steps == 3
    assert params.choice.first.steps == 10
    assert _apply({"choice": {"type": None}}).choice.get() is None


@pytest.mark.parametrize(
    "text, values",
    [
        ("a=1", {"a": 1}),
        (
            "a.b=1, a.c=x,d=true",
            {"a": {"b": 1, "c": "x"}, "d": True},
        ),
        ("a.b.c=1,a.b.d=2,a.e=3", {"a": {"b": {"c": 1, "d": 2}, "e": 3}}),
        ("a=", {"a": None}),
        ("a=x=y", {"a": "x=y"}),
        ("a=1,a=2", {"a": 2}),
        ('{"a": {"b": [1, 2]}}', {"a": {"b": [1, 2]}}),
        ("{a: {b: x}}", {"a": {"b": "x"}}),
    ],
)
def test_parse(text, values):
    assert overrides.parse(text) == values


@pytest.mark.parametrize(
    "text, message",
    [
        ("a", "expected key=value, got 'a'"),
        ("a=1,", "expected key=value, got ''"),
        ("a=[1,2]", "(?s)^--params_override: a=.1: .*; use braces"),
        ('{"a": ', "--params_override: "),
    ],
)
def test_unparseable_text(text, message):
    with pytest.raises(ValueError, match=message):
        overrides.parse(text)


@pytest.mark.parametrize(
    "content, values",
    [
        (b"", {}),
        (b"# nothing\n", {}),
        (b"a:\n  b: 1e-4\n  c: 1.0e-4\n", {"a": {"b": "1e-4", "c": 1e-4}}),
    ],
)
def test_read_yaml(tmp_path, content, values):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    assert files.read_yaml(str(path)) == values


@pytest.mark.parametrize(
    "content, message",
    [
        (b"a: [1\n", "not YAML: while parsing"),
        (b"a: b: c\n", "not YAML: mapping values"),
        (b"\xff\xfe\xfd", "not YAML: 'utf-8' codec can't decode"),
        (b"- a\n", "expected a mapping, got list"),
        (b"text\n", "expected a mapping, got str"),
    ],
)
def test_malformed_yaml(tmp_path, content, message):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError) as info:
        files.read_yaml(str(path))
    assert str(info.value).startswith(f"{path}: {message}")


def test_absent_yaml(tmp_path):
    path = f"{tmp_path}/x.yaml"
    with pytest.raises(ValueError) as info:
        files.read_yaml(path)
    assert str(info.value) == (
        f"--config_file={path}: expected a file, got no such file"
    )
