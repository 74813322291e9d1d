"""Whether weights, config, vocabulary and data are still those of training.

What does not fit together at all, model_directory.load refuses: a vocabulary
of another size or without special tokens, weights of other shapes, labels of
another number. Here is what would be exported without a word and be wrong.
"""

import json
import os
from collections.abc import Callable
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import wordpiece

# Where a checkpoint has the model's variables, and what of them is state of
# the optimizer.
_MODEL_PREFIX = "model/"
_SLOT = ".OPTIMIZER_SLOT"
# Between the score that training recorded and that of the same weights now:
# other batches and machines round otherwise.
_MAX_SCORE_CHANGE_POINTS = 1.0


def check_folder(model_dir: str, folder: str) -> None:
    """Checks the best model of a run against the run's own files.

    Args:
        model_dir: folder of the run.
        folder: of the model to export, `model_dir` or one in it.

    Raises:
        ValueError: if vocabulary or config differ.
    """
    if os.path.realpath(model_dir) == os.path.realpath(folder):
        return
    # A model may be kept without its run.
    run_vocab = os.path.join(model_dir, model_directory.VOCAB_FILE)
    vocab = os.path.join(folder, model_directory.VOCAB_FILE)
    if os.path.isfile(run_vocab) and not wordpiece.same_vocabulary(
        files.read_bytes(run_vocab), files.read_bytes(vocab)
    ):
        raise ValueError(
            f"{run_vocab} and {vocab} differ: expected the vocabulary of the "
            "training in both"
        )
    run_config = os.path.join(model_dir, model_directory.CONFIG_FILE)
    if os.path.isfile(run_config) and model_directory.read_config(
        model_dir
    ) != model_directory.read_config(folder):
        raise ValueError(
            f"{run_config} and {folder}/{model_directory.CONFIG_FILE} differ: "
            "expected the config of the training in both"
        )


def check_weights(model: model_directory.TrainedModel) -> None:
    """Checks that the model uses all weights of its checkpoint.

    With fewer layers in the config a model is built and restored without the
    rest.

    Raises:
        ValueError: if the checkpoint has more parameters than the model.
    """
    reader = tf.train.load_checkpoint(model.checkpoint)
    types = reader.get_variable_to_dtype_map()
    stored = sum(
        int(np.prod(shape))
        for key, shape in reader.get_variable_to_shape_map().items()
        if key.startswith(_MODEL_PREFIX)
        and _SLOT not in key
        and types[key].is_floating
    )
    used = model.model.count_params()
    if stored != used:
        raise ValueError(
            f"{model.checkpoint}: has {stored} parameters, but "
            f"{model_directory.CONFIG_FILE} makes a model of {used}: expected "
            "the config of the training"
        )


def check_scores(
    folder: str,
    checkpoint: str,
    metrics: Mapping[str, Mapping[str, float]],
    points_of: Callable[[str], float | None],
) -> None:
    """Checks that the model scores what it did when it was trained.

    It is how another vocabulary of the same size shows, or another activation
    in the config. For the data that the run recorded only.

    Args:
        folder: of the model, with an evaluation_SET.json per set; a set
            without, or one of another step, is not checked.
        checkpoint: prefix of the weights, ckpt-STEP.
        metrics: {set: {metric: value}} of the Keras model now.
        points_of: returns the points in a unit of a metric, None of one that
            is no score.

    Raises:
        ValueError: if a score differs by more than a point.
    """
    step = checkpoint.rpartition("-")[-1]
    for name, measured in metrics.items():
        path = os.path.join(folder, f"evaluation_{name}.json")
        if not os.path.isfile(path):
            continue
        try:
            recorded = json.loads(files.read_bytes(path))
            if str(recorded["step"]) != step:
                continue
            recorded = recorded["metrics"]
            changes = {
                metric: points * abs(value - recorded[metric])
                for metric, value in measured.items()
                if metric in recorded and (points := points_of(metric))
            }
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: no evaluation: {error!r}") from error
        for metric, change in changes.items():
            if not change <= _MAX_SCORE_CHANGE_POINTS:
                raise ValueError(
                    f"{name}: {metric} is {measured[metric]:.4f}, but was "
                    f"{recorded[metric]:.4f} when {checkpoint} was written: "
                    "vocabulary, config or data have changed since; name the "
                    "data by flags to export all the same"
                )
