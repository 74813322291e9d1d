"""From a trained model's folder to verified .tflite files."""

import contextlib
import dataclasses
import os
import shutil
import tempfile
import time
import types
from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow as tf

from export import bases as bases_lib
from export import consistency
from export import file_cost
from export import file_maker
from export import mixed_precision
from export import op_lint
from export import outliers
from export import quantization
from export import task_data
from export import text_input
from export import verification
from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import wordpiece
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.quantization_aware import ranges

VOCAB_FILE = "vocab.txt"
LABELS_FILE = "labels.txt"

_OUTLIER_EXAMPLES = 16
_PAIR_EXAMPLES = 16
_NOT_MEASURED = "not measured"


@dataclasses.dataclass(frozen=True)
class Options:
    """What to export and how to judge it.

    Attributes:
        model_dir: folder of a fine-tuned model.
        output: folder of the files to write.
        variants: of file_maker.VARIANTS.
        data: what to calibrate and verify on, by the name of a flag, see
            task_data; without, what the model's folder records.
        params_override: other fields of the recorded experiment, as the
            fine-tuning binaries take them.
        max_seq_length: None for the model's own.
        calibration_examples: how many training examples set int8 ranges.
        seed: chooses them.
        max_metric_drop: points that a variant may lose against Keras, ...
        max_relative_drop: ... and the share of a metric.
        mixed_precision: whether an int8 file that loses more keeps its
            sensitive parts in float32.
        num_threads: of the interpreters.
        tokenization: of the examples, one of wordpiece.MODES: "device" judges
            by the tokens that client libraries make.
        measure_secs: for which each file's latency is measured, 0 for none.
        inference_output_type: of quantization.OUTPUT_TYPES, the outputs' number
            format in the variants of integer activations; float32 in others.
    """

    model_dir: str
    output: str
    variants: Sequence[str] = quantization.DEFAULT_VARIANTS
    data: Mapping[str, object] = dataclasses.field(default_factory=dict)
    params_override: str = ""
    max_seq_length: int | None = None
    calibration_examples: int = 200
    seed: int = 0
    max_metric_drop: float = 1.0
    max_relative_drop: float = verification.MAX_RELATIVE_DROP
    mixed_precision: bool = True
    num_threads: int = 1
    tokenization: str = wordpiece.BERT
    measure_secs: float = 2.0
    inference_output_type: str = quantization.FLOAT32


@dataclasses.dataclass(frozen=True)
class Variant:
    """A file, or why there is none.

    Attributes:
        name: of file_maker.VARIANTS.
        path: of the file, or the folder of a SavedModel.
        size: bytes; 0 without a file.
        seconds: to make it.
        verdict: its Verification, or None.
        lint: what can load it, None of a SavedModel.
        steps: the files tried until one was accurate, first that without a
            part in float32; empty if that was accurate.
        cost: of an inference, or why it is not known.
        error: why it could not be made or run, "" otherwise.
    """

    name: str
    path: str
    size: int = 0
    seconds: float = 0.0
    verdict: verification.Verification | None = None
    lint: op_lint.Lint | None = None
    steps: tuple[mixed_precision.Step, ...] = ()
    cost: file_cost.FileCost | str = _NOT_MEASURED
    error: str = ""

    @property
    def failures(self) -> tuple[str, ...]:
        """Returns why the variant is not fit for use; empty if it is."""
        if self.error:
            return (self.error,)
        refusals = self.lint.refusals if self.lint else ()
        return (*self.verdict.failures, *refusals)


@dataclasses.dataclass(frozen=True)
class Result:
    """All that a report tells.

    Attributes:
        checkpoint: the weights' origin.
        info: of the model.
        data: what was given of the data; the rest is the model's own.
        max_seq_length: as used.
        judge: with the Keras model's outputs and metrics.
        bases: how the int8 tensors are stored, None if it was not chosen.
        outliers: of the float32 graph; none if it was not converted.
        variants: in the order asked for.
    """

    checkpoint: str
    info: model_directory.ModelInfo
    data: Mapping[str, object]
    max_seq_length: int
    judge: verification.Judge
    bases: bases_lib.Choice | None
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
            options.max_relative_drop,
        )
        ranges_of_training = ranges.read(trained.checkpoint)
        is_as_trained = (
            # Training scored the simulation of int8 if it learned ranges.
            not ranges_of_training
            and length == trained.info.max_seq_length
            and options.tokenization == wordpiece.BERT
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
        maker = file_maker.FileMaker(
            trained,
            data,
            length,
            os.path.join(options.output, VOCAB_FILE),
            any(
                example["input_type_ids"].any()
                for example in judge.examples(_PAIR_EXAMPLES)
            ),
            options.calibration_examples,
            options.seed,
            options.num_threads,
            options.inference_output_type,
            ranges_of_training,
        )
        maker.prepare(options.variants)
        variants = [
            _make_and_verify(name, maker, judge, options)
            for name in options.variants
        ]
        found = maker.outliers(judge.examples(_OUTLIER_EXAMPLES))
    variants = _with_costs(variants, options)
    return Result(
        checkpoint=trained.checkpoint,
        info=trained.info,
        data={name: v for name, v in options.data.items() if v is not None},
        max_seq_length=length,
        judge=judge,
        bases=maker.choice,
        outliers=tuple(found),
        variants=tuple(variants),
    )


def _make_and_verify(name, maker, judge, options):
    path = variant_path(options.output, name)
    start = time.monotonic()
    steps = ()
    try:
        maker.make(name, path)
        seconds = time.monotonic() - start
        verdict = _verify(name, path, maker, judge)
        can_improve = (
            name == quantization.INT8
            and options.mixed_precision
            and maker.can_keep_parts
        )
        if can_improve and not verdict.is_accurate:
            verdict, steps = _keep_parts(
                name, path, maker, judge, verdict, options
            )
        lint = None
        if os.path.isfile(path):
            lint = op_lint.lint(files.read_bytes(path))
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
    return Variant(name, path, _size(path), seconds, verdict, lint, steps)


def _verify(name, path, maker, judge, num_kept=types.MappingProxyType({})):
    print(f"Verifying {path}", flush=True)
    text = maker.text if name in text_input.VARIANTS else None
    return judge.verify(name, path, maker.float_model(name), num_kept, text)


def _keep_parts(name, path, maker, judge, verdict, options):
    """Returns the last verdict, and the files that were tried."""
    print(f"{name} loses too much: looking for sensitive parts", flush=True)

    def attempt(parts):
        print(f"{name}: {', '.join(parts)} in float32", flush=True)
        num_kept = maker.make(name, path, parts)
        return _verify(name, path, maker, judge, num_kept)

    def measure():
        return _costs([path], options).get(path, _NOT_MEASURED)

    return mixed_precision.keep_parts(
        maker.rank_parts(), verdict, attempt, measure
    )


def _with_costs(variants, options):
    """Adds what the files cost, all measured in turn."""
    paths = [
        v.path
        for v in variants
        # Others have no length, or take texts, which cannot be made up.
        if v.verdict
        and os.path.isfile(v.path)
        and v.name in quantization.VARIANTS
    ]
    costs = _costs(paths, options)
    return [
        dataclasses.replace(v, cost=costs.get(v.path, v.cost)) for v in variants
    ]


def _costs(paths, options):
    if not options.measure_secs or not paths:
        return {}
    print("Measuring latency", flush=True)
    return file_cost.measure(paths, options.num_threads, options.measure_secs)


def variant_path(output: str, name: str) -> str:
    """Returns the path of a variant in the folder of an export."""
    if name == file_maker.SAVED_MODEL:
        return os.path.join(output, file_maker.SAVED_MODEL)
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
        if name not in file_maker.VARIANTS:
            raise ValueError(
                f"variants: unknown variant {name!r}, expected some of "
                f"{', '.join(file_maker.VARIANTS)}"
            )
    if not options.variants:
        raise ValueError(
            "variants: got none, expected some of "
            f"{', '.join(file_maker.VARIANTS)}"
        )
    if options.inference_output_type not in quantization.OUTPUT_TYPES:
        raise ValueError(
            f"inference_output_type: got {options.inference_output_type!r}, "
            f"expected one of {', '.join(quantization.OUTPUT_TYPES)}"
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
