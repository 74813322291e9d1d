"""From a trained model's folder to verified .tflite files."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from export import calibration
from export import inference_graph
from export import quantization
from export import verification
from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.data import glue
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.evaluation import prediction
from mobilebert_tf.fine_tuning import model_selection

VOCAB_FILE = "vocab.txt"
LABELS_FILE = "labels.txt"

_PROGRESS_STEPS = 4


@dataclasses.dataclass(frozen=True)
class Options:
    """What to export and how to judge it.

    Attributes:
        model_dir: folder of a fine-tuned classifier.
        output: folder of the files to write.
        variants: of quantization.VARIANTS.
        data_dir, task_name, max_seq_length: None or "" for the model's own.
        calibration_examples: how many training examples set int8 ranges.
        seed: chooses them.
        max_metric_drop: points that a variant may lose against Keras.
        num_threads: of the interpreters.
    """

    model_dir: str
    output: str
    variants: Sequence[str] = quantization.VARIANTS
    data_dir: str | None = None
    task_name: str | None = None
    max_seq_length: int | None = None
    calibration_examples: int = 200
    seed: int = 0
    max_metric_drop: float = 1.0
    num_threads: int = 1


@dataclasses.dataclass(frozen=True)
class Variant:
    """A file, or why there is none.

    Attributes:
        name: of quantization.VARIANTS.
        path: of the file.
        size: bytes; 0 without a file.
        seconds: to make it.
        outputs: its probabilities on the examples, or None.
        verdict: its Verification, or None.
        error: why it could not be made or run, "" otherwise.
    """

    name: str
    path: str
    size: int = 0
    seconds: float = 0.0
    outputs: np.ndarray | None = None
    verdict: verification.Verification | None = None
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
        task_name, data_dir, max_seq_length: as used.
        labels: names, in the order of the probabilities.
        label_ids: int32 [N], true labels of the verification examples.
        reference: float32 [N, C], probabilities of the Keras model.
        reference_metrics: {name: value}.
        variants: in the order asked for.
    """

    checkpoint: str
    task_name: str
    data_dir: str
    max_seq_length: int
    labels: tuple[str, ...]
    label_ids: np.ndarray
    reference: np.ndarray
    reference_metrics: dict[str, float]
    variants: tuple[Variant, ...]


def export(options: Options) -> Result:
    """Writes and verifies the variants; one that fails leaves the others.

    Raises:
        ValueError: for options, a model or data that cannot be used.
    """
    _check_options(options)
    trained = model_directory.load(
        model_selection.best_or_newest(options.model_dir)
    )
    info = trained.info
    if info.head != model_directory.SEQUENCE_CLASSIFICATION:
        raise ValueError(
            f"{options.model_dir}: expected a "
            f"{model_directory.SEQUENCE_CLASSIFICATION} model, got head "
            f"{info.head!r}; fine-tune it first"
        )
    if glue.is_regression(info.labels):
        raise ValueError(
            f"{options.model_dir}: expected a classifier, got a regression"
        )
    length = (
        info.max_seq_length
        if options.max_seq_length is None
        else options.max_seq_length
    )
    trained.config.check_sequence_length(length, "max_seq_length")
    task = _task_of(options, info)
    data_dir = files.require_directory(
        options.data_dir or info.data_dir, "data_dir"
    )

    def features(examples):
        return glue.features(examples, trained.tokenizer, length, task.labels)

    print(f"Exporting {trained.checkpoint}", flush=True)
    dev = features(glue.read_examples(task.name, data_dir, glue.DEV))
    # Before Keras' minutes: what cannot be written is told at once.
    _write_vocabulary_and_labels(options, info.labels)
    print(f"Running Keras on {len(dev['label_ids'])} examples", flush=True)
    outputs = prediction.predict(
        trained.model, rows_lib.input_rows(dev), ["logits"]
    )
    reference = prediction.probabilities(outputs["logits"])

    maker = _Maker(options, trained.model, length, task, data_dir, features)
    variants = []
    for name in options.variants:
        path = os.path.join(options.output, f"model_{name}.tflite")
        variants.append(
            _make_and_verify(name, path, maker, dev, reference, task, options)
        )
    return Result(
        checkpoint=trained.checkpoint,
        task_name=task.name,
        data_dir=data_dir,
        max_seq_length=length,
        labels=info.labels,
        label_ids=dev["label_ids"],
        reference=reference,
        reference_metrics=verification.measure(
            task.metrics, dev["label_ids"], reference
        ),
        variants=tuple(variants),
    )


class _Maker:
    """Makes the content of variants; all of them start from one conversion."""

    def __init__(self, options, model, length, task, data_dir, features):
        self._options = options
        self._model = model
        self._length = length
        self._task = task
        self._data_dir = data_dir
        self._features = features
        self._float_model = None

    def make(self, name):
        if self._float_model is None:
            print("Converting the float32 graph", flush=True)
            self._float_model = quantization.convert(
                inference_graph.module_of(self._model, self._length)
            )
        if name == quantization.FLOAT32:
            return self._float_model
        ranges = self._calibrate()
        print(f"Quantizing to {name}", flush=True)
        recipe = quantization.load_recipe(name)
        return quantization.quantize(self._float_model, recipe, ranges)

    def _calibrate(self):
        options = self._options
        examples = glue.read_examples(
            self._task.name, self._data_dir, glue.TRAIN
        )
        chosen = calibration.choose_examples(
            len(examples), options.calibration_examples, options.seed
        )
        features = self._features([examples[i] for i in chosen])
        count = len(chosen)

        def progress(done):
            if done % max(1, count // _PROGRESS_STEPS) == 0:
                print(f"Calibrating: {done} of {count} examples", flush=True)

        return calibration.collect_ranges(
            self._float_model,
            verification.examples_of(features),
            num_threads=options.num_threads,
            progress=progress,
        )


def _make_and_verify(name, path, maker, dev, reference, task, options):
    start = time.monotonic()
    try:
        content = maker.make(name)
        files.write_bytes(path, content)
        seconds = time.monotonic() - start
        print(f"Verifying {path}", flush=True)
        outputs = verification.predict_tflite(path, dev, options.num_threads)
        verdict = verification.verify(
            name,
            content,
            outputs,
            reference,
            dev["label_ids"],
            task.metrics,
            options.max_metric_drop,
        )
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
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        reason = cli.one_line(error)
        if isinstance(error, KeyError | TypeError):
            # Their text alone, such as 'serve', says little.
            reason = f"{type(error).__name__}: {reason}"
        print(f"{name} failed: {reason}", flush=True)
        return Variant(name, path, error=reason)
    return Variant(name, path, len(content), seconds, outputs, verdict)


def _check_options(options):
    for name in options.variants:
        if name not in quantization.VARIANTS:
            raise ValueError(
                f"variants: unknown variant {name!r}, expected some of "
                f"{', '.join(quantization.VARIANTS)}"
            )
    if not options.variants:
        raise ValueError(
            f"variants: got none, expected some of "
            f"{', '.join(quantization.VARIANTS)}"
        )
    files.require_writable_directory(options.output, "output")
    for name in ("calibration_examples", "num_threads"):
        value = getattr(options, name)
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")


def _task_of(options, info):
    """Returns the task to verify on; its labels are the model's."""
    name = options.task_name or info.task_name
    if not name:
        raise ValueError(
            f"{options.model_dir} names no task (converted models do not): "
            "give --task_name and --data_dir, a task with the model's labels "
            "to calibrate and verify on"
        )
    task = glue.get_task(name)
    if task.labels != info.labels:
        labels = ",".join(task.labels)
        raise ValueError(
            f"{options.model_dir} has labels {', '.join(info.labels)} but "
            f"{task.name} has {', '.join(task.labels)}; if they mean the same, "
            f"convert the model again with --labels={labels}"
        )
    return task


def _write_vocabulary_and_labels(options, labels):
    files.copy(
        os.path.join(options.model_dir, model_directory.VOCAB_FILE),
        os.path.join(options.output, VOCAB_FILE),
    )
    files.write_text(
        os.path.join(options.output, LABELS_FILE),
        "".join(f"{label}\n" for label in labels),
    )
