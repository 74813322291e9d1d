"""The examples in the docstrings run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest
import tensorflow as tf

from mobilebert_tf import modeling

_MODULES = sorted(
    module.name
    for module in pkgutil.iter_modules(
        modeling.__path__, "mobilebert_tf.modeling."
    )
)


def _examples(name):
    module = importlib.import_module(name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [
        test
        for test in finder.find(module, extraglobs={"tf": tf})
        if test.examples
    ]


@pytest.mark.parametrize("name", _MODULES)
def test_examples(name):
    for test in _examples(name):
        failed, _ = doctest.DocTestRunner().run(test)
        assert not failed, test.name


@pytest.mark.parametrize("module", ["heads", "models"])
def test_every_head_has_an_example(module):
    name = f"mobilebert_tf.modeling.{module}"
    shown = {test.name.split(".")[-1] for test in _examples(name)}
    public = {
        key
        for key, value in vars(importlib.import_module(name)).items()
        if isinstance(value, type)
        and value.__module__ == name
        and not key.startswith("_")
    }
    assert shown == public
