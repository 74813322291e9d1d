"""Random weights of the networks that the export benchmark makes.

Imports numpy alone: networks of other packages are drawn in environments that
lack this one's.
"""

import math

import numpy as np

SEED = 0
# Rows, width and layers of the products that show what the machine can do.
ROOF_SHAPE = (512, 1024, 8)
# Student's t: the tails of trained weights, which int8 has to cope with.
_DEGREES_OF_FREEDOM = 5
# Keeps activations and attention scores of order 1 to 10 through 24 blocks.
_KERNEL_DEVIATION = 0.03
_TABLE_DEVIATION = 0.5
_OFFSET_DEVIATION = 0.1
_GAMMAS = (0.7, 1.4)

_GAMMA_NAMES = ("gamma", "weight")
_OFFSET_NAMES = ("beta", "bias")


def draw(name: str, shape, generator: np.random.Generator) -> np.ndarray:
    """Returns a weight's values, float32.

    Gammas and betas are never 1 and 0: the converter would delete the
    normalisation.

    Args:
        name: the variable's own, such as "kernel" or "gamma:0".
        shape: of the variable.
        generator: drawn from.
    """
    name = name.split("/")[-1].split(":")[0]
    if name in _OFFSET_NAMES:
        values = generator.normal(0.0, _OFFSET_DEVIATION, shape)
    elif name in _GAMMA_NAMES and len(shape) == 1:
        values = generator.uniform(*_GAMMAS, shape)
    else:
        degrees = _DEGREES_OF_FREEDOM
        values = generator.standard_t(degrees, shape)
        values *= math.sqrt((degrees - 2) / degrees)  # to a variance of 1
        values *= _KERNEL_DEVIATION if name == "kernel" else _TABLE_DEVIATION
    return values.astype(np.float32)


def randomize(variables, seed: int = SEED) -> None:
    """Assigns drawn values to Keras variables, in their order."""
    generator = np.random.default_rng(seed)
    for variable in variables:
        shape = tuple(variable.shape)
        variable.assign(draw(variable.name, shape, generator))
