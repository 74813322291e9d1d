"""From a trained model's folder to verified .tflite files."""

import contextlib
import dataclasses
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow as tf

from export import calibration
from export import consistency
from export import file_cost
from export import inference_graph
from export import outliers
from export import quantization
from export import saved_model
from export import task_data
from export import text_input
from export import trained_ranges
from export import verification
from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import wordpiece
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.quantization_aware import ranges

SAVED_MODEL = "saved_model"
VARIANTS = (*quantization.VARIANTS, SAVED_MODEL, *text_input.VARIANTS)
VOCAB_FILE = "vocab.txt"
LABELS_FILE = "labels.txt"

_PROGRESS_STEPS = 4
_OUTLIER_EXAMPLES = 16
_PAIR_EXAMPLES = 16


@dataclasses.dataclass(frozen=True)
class Options:
    """What to export and how to judge it.

    Attributes:
        model_dir: folder of a fine-tuned model.
        output: folder of the files to write.
        variants: of VARIANTS.
        data: what to calibrate and verify on, by the name of a flag, see
            task_data; without, what the model's folder records.
        params_override: other fields of the recorded experiment, as the
            fine-tuning binaries take them.
        max_seq_length: None for the model's own.
        calibration_examples: how many training examples set int8 ranges.
        seed: chooses them.
        max_metric_drop: points that a variant may lose against Keras.
        num_threads: of the interpreters.
        tokenization: of the examples, one of wordpiece.MODES: "device" judges
            by the tokens that client libraries make.
        measure_secs: for which each file's latency is measured, 0 for none.
    """

    model_dir: str
    output: str
    variants: Sequence[str] = quantization.VARIANTS
    data: Mapping[str, object] = dataclasses.field(default_factory=dict)
    params_override: str = ""
    max_seq_length: int | None = None
    calibration_examples: int = 200
    seed: int = 0
    max_metric_drop: float = 1.0
    num_threads: int = 1
    tokenization: str = wordpiece.BERT
    measure_secs: float = 2.0


@dataclasses.dataclass(frozen=True)
class Variant:
    """A file, or why there is none.

    Attributes:
        name: of VARIANTS.
        path: of the file, or the folder of a SavedModel.
        size: bytes; 0 without a file.
        seconds: to make it.
        verdict: its Verification, or None.
        cost: of an inference, or why it is not known.
        error: why it could not be made or run, "" otherwise.
    """

    name: str
    path: str
    size: int = 0
    seconds: float = 0.0
    verdict: verification.Verification | None = None
    cost: file_cost.FileCost | str = "not measured"
    error: str = ""

    @property
    def failures(self) -> tuple[str, ...]:
        """Returns why the variant is not fit for use; empty if it is."""
        if self.error:
            return (self.error,)
        return self.verdict.failures


@dataclasses.dataclass(frozen=True)
class Result:
    """All that a report tells.

    Attributes:
        checkpoint: the weights' origin.
        info: of the model.
        data: what was given of the data; the rest is the model's own.
        max_seq_length: as used.
        judge: with the Keras model's outputs and metrics.
        outliers: of the float32 graph; none if it was not converted.
        variants: in the order asked for.
    """

    checkpoint: str
    info: model_directory.ModelInfo
    data: Mapping[str, object]
    max_seq_length: int
    judge: verification.Judge
    outliers: tuple[outliers.Outlier, ...]
    variants: tuple[Variant, ...]


def export(options: Options) -> Result:
    """Writes and verifies the variants; one that fails leaves the others.

    Raises:
        ValueError: for options, a model or data that cannot be used.
    """
    _check_options(options)
    folder = model_selection.best_or_newest(options.model_dir)
    consistency.check_folder(options.model_dir, folder)
    trained = model_directory.load(folder)
    consistency.check_weights(trained)
    length = (
        trained.info.max_seq_length
        if options.max_seq_length is None
        else options.max_seq_length
    )
    trained.config.check_sequence_length(length, "max_seq_length")
    with tempfile.TemporaryDirectory() as cache_dir:
        data = task_data.TaskData(
            options.model_dir,
            folder,
            trained.info,
            length,
            options.data,
            options.params_override,
            cache_dir,
            options.tokenization,
        )
        print(f"Exporting {trained.checkpoint}", flush=True)
        sets = data.evaluation_sets()
        # Before Keras' minutes: what cannot be written is told at once.
        _write_vocabulary_and_labels(folder, options, trained.info.labels)
        rows = sum(len(each) for each in sets)
        print(f"Running Keras on {rows} rows", flush=True)
        judge = verification.Judge(
            trained.model,
            trained.info.head,
            sets,
            data.points_of,
            options.max_metric_drop,
            options.num_threads,
        )
        is_as_trained = (
            length == trained.info.max_seq_length
            and not options.params_override
            and not any(v is not None for v in options.data.values())
        )
        if is_as_trained:
            consistency.check_scores(
                folder,
                trained.checkpoint,
                judge.metrics_of_sets,
                data.points_of,
            )
        maker = _Maker(
            options, trained, length, data, ranges.read(trained.checkpoint)
        )
        maker.note_pairs(judge)
        variants = [
            _make_and_verify(name, maker, judge, options.output)
            for name in options.variants
        ]
        found = maker.outliers(judge)
    variants = _with_costs(variants, options)
    return Result(
        checkpoint=trained.checkpoint,
        info=trained.info,
        data={name: v for name, v in options.data.items() if v is not None},
        max_seq_length=length,
        judge=judge,
        outliers=tuple(found),
        variants=tuple(variants),
    )


class _Maker:
    """Makes variants; all .tflite files start from one conversion."""

    def __init__(self, options, trained, length, data, ranges_of_training):
        self._options = options
        self._trained = trained
        self._trained_ranges = ranges_of_training
        self._length = length
        self._data = data
        self._float_model = None
        self._is_pair = False

    def note_pairs(self, judge):
        """Notes whether the task is on pairs of texts."""
        self._is_pair = any(
            example["input_type_ids"].any()
            for example in judge.examples(_PAIR_EXAMPLES)
        )

    @property
    def text(self):
        """What makes features of texts; None for a head without."""
        if self._trained.info.head not in text_input.HEADS:
            return None
        return text_input.TextInput(
            self._trained.tokenizer, self._length, self._is_pair
        )

    def make(self, name, path):
        """Writes a variant."""
        if name == SAVED_MODEL:
            print("Saving the Keras model", flush=True)
            saved_model.write(self._trained.model, path, self.text)
        else:
            files.write_bytes(path, self._content(name))

    def float_model(self, name):
        """Returns the float32 file that a variant was quantized from."""
        if name in (quantization.FLOAT32, SAVED_MODEL, *text_input.VARIANTS):
            return None
        return self._float_model

    def outliers(self, judge):
        """Returns the outliers of the float32 graph, if there is one."""
        if self._float_model is None:
            return ()
        return outliers.find(
            self._float_model,
            judge.examples(_OUTLIER_EXAMPLES),
            self._options.num_threads,
        )

    def _content(self, name):
        if name in text_input.VARIANTS:
            if self.text is None:
                raise ValueError(
                    f"{name}: expected a model with head "
                    f"{' or '.join(text_input.HEADS)}, got "
                    f"{self._trained.info.head}"
                )
            base = self._content(text_input.VARIANTS[name])
            return text_input.add_tokenizer(base, self.text)
        if self._float_model is None:
            print("Converting the float32 graph", flush=True)
            self._float_model = quantization.convert(
                inference_graph.module_of(self._trained.model, self._length)
            )
        if name == quantization.FLOAT32:
            return self._float_model
        found = self._ranges()
        print(f"Quantizing to {name}", flush=True)
        recipe = quantization.load_recipe(name)
        return quantization.quantize(self._float_model, recipe, found)

    def _ranges(self):
        if not self._trained_ranges:
            return self._calibrate()
        print("The ranges are those of training", flush=True)
        return trained_ranges.ranges_for(
            self._float_model, self._trained_ranges
        )

    def _calibrate(self):
        options = self._options
        inputs = self._data.calibration_inputs(
            options.calibration_examples, options.seed
        )
        count = len(inputs)

        def progress(done):
            if done % max(1, count // _PROGRESS_STEPS) == 0:
                print(f"Calibrating: {done} of {count} examples", flush=True)

        return calibration.collect_ranges(
            self._float_model,
            inputs,
            num_threads=options.num_threads,
            progress=progress,
        )


def _make_and_verify(name, maker, judge, output):
    path = variant_path(output, name)
    start = time.monotonic()
    try:
        maker.make(name, path)
        seconds = time.monotonic() - start
        print(f"Verifying {path}", flush=True)
        text = maker.text if name in text_input.VARIANTS else None
        verdict = judge.verify(name, path, maker.float_model(name), text=text)
    except (
        ValueError,
        OSError,
        RuntimeError,
        KeyError,
        TypeError,
        tf.errors.OpError,
    ) as error:
        # Neither a file that cannot run nor one of an earlier run may pass
        # for this run's.
        _remove(path)
        reason = cli.one_line(error)
        if isinstance(error, KeyError | TypeError):
            # Their text alone, such as 'serve', says little.
            reason = f"{type(error).__name__}: {reason}"
        print(f"{name} failed: {reason}", flush=True)
        return Variant(name, path, error=reason)
    return Variant(name, path, _size(path), seconds, verdict)


def _with_costs(variants, options):
    """Adds what the files cost, all measured in turn."""
    paths = [v.path for v in variants if v.verdict and os.path.isfile(v.path)]
    if not options.measure_secs:
        return variants
    if paths:
        print("Measuring latency", flush=True)
    costs = file_cost.measure(paths, options.num_threads, options.measure_secs)
    return [
        dataclasses.replace(v, cost=costs.get(v.path, v.cost)) for v in variants
    ]


def variant_path(output: str, name: str) -> str:
    """Returns the path of a variant in the folder of an export."""
    if name == SAVED_MODEL:
        return os.path.join(output, SAVED_MODEL)
    return os.path.join(output, f"model_{name}.tflite")


def _remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def _size(path):
    """Returns the bytes of a file, or of all files of a folder."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(path)
        for name in names
    )


def _check_options(options):
    for name in options.variants:
        if name not in VARIANTS:
            raise ValueError(
                f"variants: unknown variant {name!r}, expected some of "
                f"{', '.join(VARIANTS)}"
            )
    if not options.variants:
        raise ValueError(
            f"variants: got none, expected some of {', '.join(VARIANTS)}"
        )
    files.require_writable_directory(options.output, "output")
    for name in ("calibration_examples", "num_threads"):
        value = getattr(options, name)
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")


def _write_vocabulary_and_labels(folder, options, labels):
    files.copy(
        os.path.join(folder, model_directory.VOCAB_FILE),
        os.path.join(options.output, VOCAB_FILE),
    )
    if labels:
        files.write_text(
            os.path.join(options.output, LABELS_FILE),
            "".join(f"{label}\n" for label in labels),
        )
