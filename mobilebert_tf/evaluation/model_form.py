"""A model of any form, behind one call on batches of token ids.

Legend: B batch, C choices, S sequence.
"""

import abc
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from mobilebert_tf.data import rows as rows_lib

INPUTS = rows_lib.INPUT_NAMES

# A dimension that the model leaves open is None.
Shape = tuple[int | None, ...]

_ALIASES = {
    "input_ids": "input_word_ids",
    "ids": "input_word_ids",
    "attention_mask": "input_mask",
    "mask": "input_mask",
    "token_type_ids": "input_type_ids",
    "segment_ids": "input_type_ids",
}


class ModelForm(abc.ABC):
    """What evaluations need of a model.

    Attributes:
        name: of the model in messages, its path if it has one.
        input_shapes: by those of INPUTS that the model takes: (B, S), of
            multiple choice also (B, C, S); None if it takes what it gets.
        output_shapes: by its own names, in its order; None if it has outputs
            by the names that are asked for, or fails.
    """

    name: str
    input_shapes: Mapping[str, Shape] | None = None
    output_shapes: Mapping[str, Shape] | None = None

    @abc.abstractmethod
    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Returns some outputs for one batch.

        Args:
            inputs: int32, by INPUTS, of input_shapes.
            outputs: names of the model's outputs.

        Returns:
            {name: float32}, dequantized.

        Raises:
            ValueError: if the model cannot run, in one line with its name.
        """


def match_inputs(own_names: Sequence[str], model: str) -> dict[str, str]:
    """Returns the model's own name of each input it takes.

    Names are matched without what converters add, as in
    serving_default_input_ids:0. Three inputs of which none has a known name
    are taken to be in the order of INPUTS.

    Args:
        own_names: in the model's order.
        model: its name, for messages.

    Raises:
        ValueError: for other inputs than those of BERT.
    """
    known = {_canonical(own): own for own in own_names}
    if set(known) <= set(INPUTS) and len(known) == len(own_names):
        if INPUTS[0] in known:
            return {name: known[name] for name in INPUTS if name in known}
    elif len(own_names) == len(INPUTS) and not set(known) & set(INPUTS):
        return dict(zip(INPUTS, own_names, strict=True))
    raise ValueError(
        f"{model}: got inputs {', '.join(own_names) or 'none'}; expected "
        f"{', '.join(INPUTS)}"
    )


def plain_name(name: str) -> str:
    """Returns a tensor's name without what converters add."""
    return name.removeprefix("serving_default_").split(":")[0]


def _canonical(name):
    name = plain_name(name)
    return _ALIASES.get(name, name)
