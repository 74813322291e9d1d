"""The space of a search: batches, rates, epochs, and seeds."""

import dataclasses
import math

from official.modeling.hyperparams import base_config


@dataclasses.dataclass
class SearchConfig(base_config.Config):
    """Values to try: all their combinations, each with every seed.

    An empty list stands for the one value that the experiment has.

    Attributes:
        global_batch_sizes: list of int. Of task.train_data.
        learning_rates: list of float. Peak rates; the rate at the end keeps
            its share of the peak.
        num_train_epochs: list of float.
        seeds: list of int. Of initialisation, dropout and shuffling.
    """

    global_batch_sizes: list[int] = dataclasses.field(default_factory=list)
    learning_rates: list[float] = dataclasses.field(default_factory=list)
    num_train_epochs: list[float] = dataclasses.field(default_factory=list)
    seeds: list[int] = dataclasses.field(default_factory=list)


# Key: type and least value; a rate and epochs are above it.
_FIELDS = {
    "global_batch_sizes": (int, 1),
    "learning_rates": (float, 0),
    "num_train_epochs": (float, 0),
    "seeds": (int, 0),
}


def checked(space: SearchConfig) -> SearchConfig:
    """Returns a copy of `space` whose values have their types.

    YAML 1.1 reads 1e-4, without a dot, as text.

    Raises:
        ValueError: if all lists are empty, or for a value that is no number,
            too small, or there twice.
    """
    values = {
        name: _checked_list(name, getattr(space, name), *kind_and_least)
        for name, kind_and_least in _FIELDS.items()
    }
    if not any(values.values()):
        raise ValueError(
            f"search: got no values, expected some for {', '.join(_FIELDS)}"
        )
    return SearchConfig(**values)


def _checked_list(name, values, kind, least):
    checked_values = []
    for value in values or ():
        number = _number(value, kind)
        expected = (
            f"integers of at least {least}"
            if kind is int
            else f"numbers above {least}"
        )
        if (
            number is None
            or (number <= least and kind is float)
            or (number < least)
        ):
            raise ValueError(
                f"search.{name}: got {value!r}, expected {expected}"
            )
        if number in checked_values:
            raise ValueError(f"search.{name}: got {value!r} twice")
        checked_values.append(number)
    return checked_values


def _number(value, kind):
    """Returns a finite number of the kind, None if `value` is none."""
    if isinstance(value, bool) or (kind is int and not isinstance(value, int)):
        return None
    try:
        number = kind(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
