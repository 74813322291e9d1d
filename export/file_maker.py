"""Makes the files of an export from one trained model."""

from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np

from export import bases as bases_lib
from export import calibration
from export import conversion
from export import folding
from export import graph_heads
from export import inference_graph
from export import int8_simulator
from export import metadata
from export import mixed_precision
from export import outliers
from export import quantization
from export import saved_model
from export import task_data
from export import text_input
from export import trained_ranges
from export import weights as weights_lib
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.quantization_aware import ranges as ranges_lib

SAVED_MODEL = "saved_model"
# The float32 graph with inputs [1, -1], as long as the app makes them.
ANY_LENGTH = "any_length"
VARIANTS = (
    *quantization.VARIANTS,
    ANY_LENGTH,
    SAVED_MODEL,
    *text_input.VARIANTS,
)

_PROGRESS_STEPS = 4
# Enough to tell bases and parts apart; ranges take all examples.
_SIMULATED_EXAMPLES = 32


def needs_ranges(name: str) -> bool:
    """Returns whether a variant has integer activations.

    Args:
        name: of VARIANTS.
    """
    name = text_input.VARIANTS.get(name, name)
    if name in (SAVED_MODEL, ANY_LENGTH, quantization.FLOAT32):
        return False
    return quantization.needs_ranges(quantization.load_recipe(name))


class FileMaker:
    """Makes variants; all .tflite files start from one conversion.

    Args:
        trained: the model.
        data: to calibrate on.
        length: S of the files.
        vocab_file: to pack in.
        is_pair: whether the task is on pairs of texts.
        calibration_examples: how many set int8 ranges ...
        seed: ... and what chooses them.
        num_threads: of interpreters.
        output_type: of quantization.OUTPUT_TYPES, of variants with integer
            activations.
        trained_ranges: of quantisation-aware training, by activation; empty
            for a model that needs calibration.

    Attributes:
        choice: of bases, None if none was made.
    """

    def __init__(
        self,
        trained: model_directory.TrainedModel,
        data: task_data.TaskData,
        length: int,
        vocab_file: str,
        is_pair: bool,
        calibration_examples: int,
        seed: int,
        num_threads: int,
        output_type: str,
        trained_ranges: Mapping[str, ranges_lib.Range],
    ):
        self._trained = trained
        self._data = data
        self._length = length
        self._vocab_file = vocab_file
        self._is_pair = is_pair
        self._calibration_examples = calibration_examples
        self._seed = seed
        self._num_threads = num_threads
        self._output_type = output_type
        self._trained_ranges = trained_ranges
        self._bases = folding.PLAIN
        self._inputs = None
        self._calibration_error = None
        self._simulator = None
        self._float_model = None
        self._ranges = None
        self.choice = None

    @property
    def text(self) -> text_input.TextInput | None:
        """What makes features of texts; None for a head without."""
        if self._trained.info.head not in text_input.HEADS:
            return None
        return text_input.TextInput(
            self._trained.tokenizer, self._length, self._is_pair
        )

    def prepare(self, names: Sequence[str]) -> None:
        """Chooses the bases of the files, if one of them needs any.

        Args:
            names: of the variants to be made.
        """
        # Training with ranges is on the graph without bases.
        if self._trained_ranges or not any(map(needs_ranges, names)):
            return
        try:
            self._inputs = self._data.calibration_inputs(
                self._calibration_examples, self._seed
            )
            print("Choosing the bases of int8 tensors", flush=True)
            self.choice = bases_lib.choose(
                self._make_simulator(), _tell_candidate
            )
        except ValueError as error:
            # The variants that need it fail with it, the others do not.
            self._calibration_error = error
            return
        self._bases = self.choice.bases

    def make(
        self, name: str, path: str, float_parts: Sequence[str] = ()
    ) -> dict[str, int]:
        """Writes a variant.

        Args:
            name: of VARIANTS.
            path: of the file or, of a SavedModel, the folder.
            float_parts: of mixed_precision, to keep in float32.

        Returns:
            How many operators were kept so, by name.

        Raises:
            ValueError: if it cannot be made.
        """
        if name == SAVED_MODEL:
            print("Saving the Keras model", flush=True)
            saved_model.write(self._trained.model, path, self.text)
            return {}
        content = self._content(name, float_parts, self._output_type)
        kept = mixed_precision.count_kept(content, float_parts)
        files.write_bytes(path, self._packed(name, content))
        return kept

    def float_model(self, name: str) -> bytes | None:
        """Returns the float32 file that a variant was quantized from."""
        if name in quantization.VARIANTS and name != quantization.FLOAT32:
            return self._float_model
        return None

    @property
    def can_keep_parts(self) -> bool:
        """Whether parts can be ranked: there are calibration examples."""
        return self._inputs is not None

    def rank_parts(self) -> dict[str, float]:
        """Returns what keeping parts in float32 gains; see mixed_precision."""
        simulator = self._make_simulator()
        return mixed_precision.rank(
            simulator,
            simulator.fold(self._bases),
            lambda done, count: _tell("Ranking", done, count, "parts"),
        )

    def outliers(
        self, examples: Sequence[Mapping[str, np.ndarray]]
    ) -> list[outliers.Outlier]:
        """Returns the outliers of the float32 graph, if there is one."""
        if self._float_model is None:
            return []
        return outliers.find(self._float_model, examples, self._num_threads)

    def _packed(self, name, content):
        if name in text_input.VARIANTS:
            return content  # It has its tokenizer, and takes no ids.
        description = metadata.describe(
            self._trained.info, self._vocab_file, self._is_pair
        )
        return metadata.pack(content, description)

    def _content(self, name, float_parts, output_type=quantization.FLOAT32):
        if name in text_input.VARIANTS:
            if self.text is None:
                raise ValueError(
                    f"{name}: expected a model with head "
                    f"{' or '.join(text_input.HEADS)}, got "
                    f"{self._trained.info.head}"
                )
            base = self._content(text_input.VARIANTS[name], float_parts)
            return text_input.add_tokenizer(base, self.text)
        if name == ANY_LENGTH:
            print("Converting the graph of any length", flush=True)
            return conversion.convert(
                inference_graph.module_of(
                    self._trained.model, None, self._bases
                )
            )
        if self._float_model is None:
            print("Converting the float32 graph", flush=True)
            self._float_model = conversion.convert(
                inference_graph.module_of(
                    self._trained.model, self._length, self._bases
                )
            )
        if name == quantization.FLOAT32:
            return self._float_model
        recipe = quantization.load_recipe(name)
        recipe = mixed_precision.with_float_parts(recipe, float_parts)
        ranges = {}
        if needs_ranges(name):
            ranges = self._find_ranges()
        else:
            output_type = quantization.FLOAT32
        print(f"Quantizing to {name}", flush=True)
        return quantization.quantize(
            self._float_model, recipe, ranges, output_type
        )

    def _find_ranges(self):
        if self._calibration_error is not None:
            raise self._calibration_error
        if self._ranges is None:
            if self._trained_ranges:
                print("The ranges are those of training", flush=True)
                self._ranges = trained_ranges.ranges_for(
                    self._float_model, self._trained_ranges
                )
            else:
                self._ranges = self._calibrate()
        return self._ranges

    def _calibrate(self):
        count = len(self._inputs)
        return calibration.collect_ranges(
            self._float_model,
            self._inputs,
            num_threads=self._num_threads,
            progress=lambda done: _tell("Calibrating", done, count, "examples"),
        )

    def _make_simulator(self):
        if self._simulator is None:
            model = self._trained.model
            inputs = self._inputs[:_SIMULATED_EXAMPLES]
            self._simulator = int8_simulator.Simulator(
                model.config,
                weights_lib.from_encoder(model.encoder),
                graph_heads.from_model(model),
                {
                    name: np.concatenate([row[name] for row in inputs])
                    for name in inference_graph.INPUT_NAMES
                },
            )
        return self._simulator


def _tell_candidate(name, sqnr_db):
    choice = "none" if name == bases_lib.PLAIN else f"chosen anew {name}"
    print(f"Bases {choice}: {sqnr_db:.1f} dB", flush=True)


def _tell(what, done, count, unit):
    if done % max(1, count // _PROGRESS_STEPS) == 0:
        print(f"{what}: {done} of {count} {unit}", flush=True)
