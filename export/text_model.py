"""A text-in .tflite as a model of token ids, so that it can be scored.

Ids are made a text again, of which the file's own tokenizer has to make the
same ids.

Legend: S sequence.
"""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from export import inference_graph
from export import text_input
from mobilebert_tf import files
from mobilebert_tf import wordpiece
from mobilebert_tf.evaluation import model_form

# No vocabulary has this private character: it stands for an unknown word.
_UNKNOWN = "\ue000"


class TextModel(model_form.ModelForm):
    """Runs a text-in file on the texts of features.

    Args:
        path: of the file.
        text: what makes its features.
        num_threads: of the interpreter.

    Raises:
        ValueError: if LiteRT cannot load it.
    """

    def __init__(
        self, path: str, text: text_input.TextInput, num_threads: int = 1
    ):
        self.name = path
        self._text = text
        try:
            self.interpreter = text_input.load_interpreter(
                files.read_bytes(path), num_threads
            )
            self.interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: LiteRT cannot load it: {reason}") from (
                error
            )
        self._run = self.interpreter.get_signature_runner(
            inference_graph.SIGNATURE
        )
        shape = 1, text.max_seq_length
        self.input_shapes = dict.fromkeys(model_form.INPUTS, shape)
        self.output_shapes = {
            name: tuple(int(size) for size in details["shape"])
            for name, details in self._run.get_output_details().items()
        }

    def run(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]
    ) -> dict[str, np.ndarray]:
        texts = texts_of(inputs, self._text)
        try:
            values = self._run(
                **{
                    name: np.array([text.encode("utf-8")])
                    for name, text in texts.items()
                }
            )
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{self.name}: LiteRT cannot run it: {reason}"
            ) from error
        return {name: values[name].astype(np.float32) for name in outputs}


def texts_of(
    inputs: Mapping[str, np.ndarray], text: text_input.TextInput
) -> dict[str, str]:
    """Returns the texts of features, by their names in a text-in file.

    Args:
        inputs: int32 [1, S] by name.
        text: what made them.
    """
    tokenizer = text.tokenizer
    ids = inputs["input_word_ids"][0][inputs["input_mask"][0] == 1]
    (ends,) = np.nonzero(ids == tokenizer.sep_id)
    starts = [1, *(ends + 1)]
    return {
        name: _joined(tokenizer, ids[start:end])
        for name, start, end in zip(text.names, starts, ends, strict=False)
    }


def _joined(tokenizer, ids):
    words = []
    for index in ids:
        token = tokenizer.vocabulary[index]
        if index == tokenizer.unk_id:
            words.append(_UNKNOWN)
        elif words and token.startswith(wordpiece.SUFFIX_INDICATOR):
            words[-1] += token.removeprefix(wordpiece.SUFFIX_INDICATOR)
        else:
            words.append(token)
    return " ".join(words)
