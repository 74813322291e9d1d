"""Strict replacement of fields in nested configurations."""

import difflib

import yaml
from official.modeling.hyperparams import base_config
from official.modeling.hyperparams import oneof


def parse(text: str) -> dict:
    """Parses "a.b=1,c.d=x", or a mapping in JSON or YAML braces.

    Raises:
        ValueError: if it is neither.
    """
    if text.lstrip().startswith("{"):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"--params_override: {error}") from error
    values = {}
    for item in text.split(","):
        key, separator, value = item.partition("=")
        if not separator:
            raise ValueError(
                f"--params_override: expected key=value, got {item!r}"
            )
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(
                f"--params_override: {item}: {error}; use braces around a "
                "mapping with lists"
            ) from error
        _merge(values, nested(key.strip(), value))
    return values


def nested(key: str, value: object) -> dict:
    """Returns {"a": {"b": value}} for the dotted key "a.b"."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _merge(target, values):
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


def apply(params: base_config.Config, values: dict, source: str) -> None:
    """Replaces fields of `params`, all or none.

    Args:
        params: modified in place.
        values: nested mapping of fields.
        source: where `values` come from, for messages.

    Raises:
        ValueError: for an unknown key or a value of the wrong type.
    """
    _check(params, values, source, prefix="")
    params.override(values, is_strict=True)


def _check(params, values, source, prefix):
    """Raises ValueError for a key or type that `params` does not have."""
    # Not as_dict(): of alternatives, it has the chosen one alone.
    known = [name for name in vars(params) if name not in params.RESERVED_ATTR]
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            raise ValueError(f"{source}: unknown key {path!r}{hint}")
        if isinstance(params, oneof.OneOfConfig) and key == "type":
            _check_type(
                value, [name for name in known if name != key], source, path
            )
        current = getattr(params, key)
        if isinstance(current, base_config.Config):
            if not isinstance(value, dict):
                raise ValueError(
                    f"{source}: {path}: expected a mapping, got {value!r}"
                )
            _check(current, value, source, prefix=f"{path}.")
        else:
            values[key] = _convert(current, value, f"{source}: {path}")


def _check_type(value, known, source, path):
    if value is not None and value not in known:
        raise ValueError(
            f"{source}: {path}: expected one of {', '.join(known)}, "
            f"got {value!r}"
        )


def _convert(current, value, where):
    """Returns `value` in the type of the default `current`."""
    if current is None:
        return value
    if value is None and not isinstance(current, bool | int | float):
        return value
    if isinstance(current, float) and isinstance(value, str):
        # YAML 1.1 reads 1e-4, without a dot, as a string.
        try:
            return float(value)
        except ValueError:
            raise ValueError(
                f"{where}: expected a number, got {value!r}"
            ) from None
    if isinstance(current, float) and type(value) is int:
        return float(value)
    if isinstance(current, list | tuple):
        if isinstance(value, list | tuple):
            if any(isinstance(each, list | tuple | dict) for each in value):
                raise ValueError(
                    f"{where}: expected a list of plain values, got {value!r}"
                )
            return list(value)
    elif type(value) is type(current):
        return value
    raise ValueError(
        f"{where}: expected {type(current).__name__}, got {value!r}"
    )
