"""--evaluate: finished models of any form on the dev set, line by line.

    model_dir/
      comparison_SET.json   metrics of each model, what is counted for each
      comparison_SET.html   them side by side, and the errors of the first

All models are given the same rows, made with the vocabulary, the labels and
the length of the model in model_dir; where that holds none, of the first path
that is a model's folder, else of vocab.txt and labels.txt beside the files, as
export/to_tflite.py writes them. Files that take another length set it.
"""

import json
import os
from collections.abc import Mapping
from collections.abc import Sequence

from absl import logging

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import text_table
from mobilebert_tf import wordpiece
from mobilebert_tf.evaluation import error_report
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import model_form
from mobilebert_tf.evaluation import model_forms
from mobilebert_tf.evaluation import model_outputs
from mobilebert_tf.fine_tuning import kinds
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.fine_tuning import starting_models

LABELS_FILE = "labels.txt"
# Stands for a model that always says what is most often right.
MAJORITY = "majority"


def run(
    kind: kinds.Kind, paths: Sequence[str], model_dir: str
) -> dict[str, dict[str, float]]:
    """Evaluates models, prints their metrics and writes what they get wrong.

    Args:
        kind: of the task.
        paths: .tflite files, SavedModels and folders of models, of which the
            best of the run counts.
        model_dir: of the run that they come from, or any folder to write to.

    Returns:
        {path: metrics}; of the first set under their own names, of others as
        "set/metric".

    Raises:
        ValueError: for a model or input that cannot be used, in one line.
    """
    kind.check()
    files.require_writable_directory(model_dir, "model_dir")
    info, vocab_file, folder = _description(kind, paths, model_dir)
    for path in paths:
        _check_same_use(path, info, vocab_file)
    models = {path: _load(path, kind.head) for path in paths}
    kind.for_model(info, folder)
    kind.config = kind.config.replace(
        max_seq_length=_sequence_length(models, kind.config.max_seq_length)
    )
    reader = starting_models.Reader(vocab_file, info.lower_case, info.labels)
    evaluated = {path: [] for path in models}
    for each in kind.evaluation_sets(reader, model_dir):
        for path, model in models.items():
            outputs = model_outputs.predict(
                each,
                model,
                kind.config.validation_data.global_batch_size,
            )
            evaluated[path].append(
                evaluation_set.Evaluated(each, outputs, each.measure(outputs))
            )
        models_of_set = {path: sets[-1] for path, sets in evaluated.items()}
        majority = each.majority_outputs()
        if majority is not None:
            models_of_set[MAJORITY] = evaluation_set.Evaluated(
                each, majority, each.measure(majority)
            )
        _report(models_of_set, model_dir)
    return {
        path: evaluation_set.joint_metrics(sets)
        for path, sets in evaluated.items()
    }


def default_folder(paths: Sequence[str]) -> str:
    """Returns what stands for model_dir where it is not given.

    Args:
        paths: of `run`.
    """
    models = filter(starting_models.is_model, paths)
    return next(models, None) or _folder_of(paths[0])


def _description(kind, paths, model_dir):
    """Returns ModelInfo, vocabulary and folder that rows are made for."""
    for folder in (model_dir, *paths):
        if starting_models.is_model(folder):
            starting_models.check_head(folder, kind.head)
            vocab_file = os.path.join(folder, model_directory.VOCAB_FILE)
            files.require_file(vocab_file, "vocab_file")
            info = model_directory.read_info(folder)
            return info, vocab_file, model_selection.best_or_newest(folder)
    for path in paths:
        if not os.path.exists(path):
            raise ValueError(f"--evaluate={path}: no such file or folder")
    config = kind.config
    folder = _folder_of(paths[0])
    vocab_file = config.model.vocab_file or _beside(
        folder, model_directory.VOCAB_FILE
    )
    labels = ()
    if kind.head in model_directory.LABELLED_HEADS:
        with open(_beside(folder, LABELS_FILE), encoding="utf-8") as stream:
            labels = tuple(stream.read().rstrip("\n").split("\n"))
    info = model_directory.ModelInfo(
        head=kind.head,
        max_seq_length=config.max_seq_length,
        lower_case=config.model.lower_case,
        labels=labels,
    )
    return info, vocab_file, ""


def _check_same_use(path, info, vocab_file):
    """Raises ValueError for a model's folder with other labels or tokens.

    The rows of all models are made for `info`.
    """
    if not starting_models.is_model(path):
        return
    own = model_directory.read_info(path)
    for name in ("labels", "lower_case"):
        got, expected = getattr(own, name), getattr(info, name)
        if got != expected:
            raise ValueError(
                f"--evaluate={path}: {name} is {got}, expected {expected} as "
                "of the model that the rows are made for"
            )
    own_file = os.path.join(path, model_directory.VOCAB_FILE)
    contents = map(files.read_bytes, (own_file, vocab_file))
    if not wordpiece.same_vocabulary(*contents):
        raise ValueError(
            f"--evaluate={path}: {own_file} differs from {vocab_file}, which "
            "the rows are made with"
        )


def _beside(folder, name):
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise ValueError(
            f"{path}: no such file; give --model_dir, the folder of the run "
            "that the model is from, or put the file there"
        )
    return path


def _folder_of(path):
    return os.path.dirname(os.path.abspath(path))


def _load(path, head):
    if starting_models.is_model(path):
        starting_models.check_head(path, head)
        path = model_selection.best_or_newest(path)
    return model_forms.load(path, num_threads=os.cpu_count() or 1)


def _sequence_length(models: Mapping[str, model_form.ModelForm], length):
    """Returns the only length that the models take, else `length`."""
    lengths = {
        shape[-1]: path
        for path, model in models.items()
        for shape in (model.input_shapes or {}).values()
        if shape[-1] is not None
    }
    if len(lengths) != 1 or length in lengths:
        return length
    (own, path), *_ = lengths.items()
    logging.info("rows of %d tokens, as %s takes them", own, path)
    return own


def _report(models: Mapping[str, evaluation_set.Evaluated], model_dir):
    name = next(iter(models.values())).set.name
    print(f"{name}:")
    table = error_report.metrics_table(models)
    print("\n".join(text_table.lines(table)), flush=True)
    content = {
        path: {
            "metrics": each.measurement.metrics,
            **each.measurement.counts,
        }
        for path, each in models.items()
    }
    path = os.path.join(model_dir, f"comparison_{name}")
    text = json.dumps(content, indent=2, allow_nan=False)
    files.write_text(f"{path}.json", text + "\n")
    error_report.write(f"{path}.html", f"Models on {name}", models)
    logging.info("wrote %s.json and .html", path)
