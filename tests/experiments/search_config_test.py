"""What a search may try."""

import pytest

from mobilebert_tf.experiments import overrides
from mobilebert_tf.experiments import search_config


def test_values_are_taken_from_yaml():
    space = search_config.SearchConfig()
    overrides.apply(
        space,
        overrides.parse(
            "{learning_rates: [1e-5, 5.0e-5], num_train_epochs: [2, 3.5], "
            "global_batch_sizes: [16, 32], seeds: [0]}"
        ),
        "search.yaml",
    )
    space = search_config.checked(space)
    assert space.learning_rates == [1e-5, 5e-5]
    assert space.num_train_epochs == [2.0, 3.5]
    assert [type(value) for value in space.num_train_epochs] == [float] * 2
    assert space.global_batch_sizes == [16, 32]
    assert space.seeds == [0]


@pytest.mark.parametrize(
    "values, message",
    [
        ({}, "search: got no values, expected some for global_batch_sizes"),
        ({"seeds": []}, "search: got no values"),
        ({"seeds": [1, 2, 1]}, "search.seeds: got 1 twice"),
        ({"learning_rates": ["1e-5", 1e-5]}, "learning_rates: got .* twice"),
        ({"global_batch_sizes": [0]}, "got 0, expected integers of at least 1"),
        ({"global_batch_sizes": [16.0]}, "got 16.0, expected integers"),
        ({"seeds": [-1]}, "got -1, expected integers of at least 0"),
        ({"seeds": [True]}, "got True, expected integers"),
        ({"learning_rates": [0.0]}, "got 0.0, expected numbers above 0"),
        ({"learning_rates": ["fast"]}, "got 'fast', expected numbers"),
        ({"num_train_epochs": [float("nan")]}, "got nan, expected numbers"),
        ({"num_train_epochs": [-3]}, "got -3, expected numbers above 0"),
    ],
)
def test_wrong_values(values, message):
    with pytest.raises(ValueError, match=message) as error:
        search_config.checked(search_config.SearchConfig(**values))
    assert "\n" not in str(error.value)
