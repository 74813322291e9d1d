"""The labelled examples that an export is calibrated and judged on.

They are those of the run that trained the model, as its folder records them,
or others that the command line names.

Legend: S sequence.
"""

import os
from collections.abc import Mapping

import numpy as np

from export import calibration
from mobilebert_tf import model_directory
from mobilebert_tf import wordpiece
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import metrics
from mobilebert_tf.experiments import classification_config
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import experiment_flags
from mobilebert_tf.experiments import multiple_choice_config
from mobilebert_tf.experiments import question_answering_config
from mobilebert_tf.experiments import tagging_config
from mobilebert_tf.fine_tuning import classification
from mobilebert_tf.fine_tuning import kinds
from mobilebert_tf.fine_tuning import multiple_choice
from mobilebert_tf.fine_tuning import question_answering
from mobilebert_tf.fine_tuning import starting_models
from mobilebert_tf.fine_tuning import tagging

_KINDS = {
    kind.head: (kind, defaults)
    for kind, defaults in (
        (
            classification.Classification,
            classification_config.classification,
        ),
        (
            multiple_choice.MultipleChoice,
            multiple_choice_config.multiple_choice,
        ),
        (tagging.Tagging, tagging_config.tagging),
        (
            question_answering.QuestionAnswering,
            question_answering_config.question_answering,
        ),
    )
}
HEADS = tuple(_KINDS)

_DATA_DIR = {"data_dir": "task.data_dir"}
_FOLDER = {
    **_DATA_DIR,
    "train_file": "task.train_file",
    "dev_file": "task.dev_file",
}
# Of a classifier: where one of them is given, none that is recorded counts.
_SOURCES = {
    "task_name": "task.task_name",
    "train_file": "task.table.train_file",
    "dev_file": "task.table.dev_file",
}
# What the flags of to_tflite stand for.
_FLAGS = {
    model_directory.SEQUENCE_CLASSIFICATION: {
        **_DATA_DIR,
        **_SOURCES,
        "text_column": "task.table.text_column",
        "text_b_column": "task.table.text_b_column",
        "label_column": "task.table.label_column",
    },
    model_directory.MULTIPLE_CHOICE: _FOLDER,
    model_directory.TOKEN_CLASSIFICATION: _FOLDER,
    model_directory.QUESTION_ANSWERING: {
        "train_file": "task.train_data.input_path",
        "predict_file": "task.validation_data.input_path",
    },
}
_POINTS = 100.0


class TaskData:
    """The examples of a fine-tuned model.

    Args:
        model_dir: folder of the run.
        folder: of the model itself: `model_dir`, or the best model in it.
        info: of the model.
        length: S of the exported files.
        given: value by name of the flag that says what to read, None for what
            is not given.
        params_override: of the experiment, as run_classifier and the others
            take it.
        cache_dir: folder for caches of features; must last as long as what
            comes from here is used.
        tokenization: one of wordpiece.MODES.

    Raises:
        ValueError: for a model or flags that do not go with the task.
    """

    def __init__(
        self,
        model_dir: str,
        folder: str,
        info: model_directory.ModelInfo,
        length: int,
        given: Mapping[str, object],
        params_override: str,
        cache_dir: str,
        tokenization: str = wordpiece.BERT,
    ):
        if info.head not in _KINDS:
            raise ValueError(
                f"{model_dir}: expected a model with head "
                f"{', '.join(HEADS)}, got head {info.head!r}; fine-tune it "
                "first"
            )
        self._reader = starting_models.Reader(
            os.path.join(folder, model_directory.VOCAB_FILE),
            info.lower_case,
            info.labels,
            tokenization,
        )
        self._kind = _make_kind(model_dir, info, given, params_override)
        self._kind.for_model(info, folder)
        self._kind.config = self._kind.config.replace(max_seq_length=length)
        self._kind.check()
        self._cache_dir = cache_dir

    def evaluation_sets(self) -> list[evaluation_set.EvaluationSet]:
        """Returns the sets to judge by, the one that selects models first.

        Raises:
            ValueError: if files are missing or wrong.
        """
        return self._kind.evaluation_sets(self._reader, self._cache_dir)

    def calibration_inputs(
        self, count: int, seed: int
    ) -> list[dict[str, np.ndarray]]:
        """Returns training examples as the files take them, int32 [1, S] each.

        Args:
            count: how many; of multiple choice, each with all its choices.
            seed: chooses them.

        Raises:
            ValueError: if the training data are missing or wrong.
        """
        self._kind.training_labels()
        rows = self._kind.training_rows(self._reader, self._cache_dir)
        chosen = calibration.choose_examples(len(rows), count, seed)
        inputs = rows.inputs(chosen)
        return list(
            calibration.single_rows(
                {name: inputs[name] for name in rows_lib.INPUT_NAMES}
            )
        )

    def points_of(self, metric: str) -> float | None:
        """Returns the points in a unit of a metric, None for one of no score.

        Args:
            metric: of evaluation_set.joint_metrics.
        """
        name = metric.rpartition("/")[-1]
        is_error = metrics.is_better(name, 0.0, than=1.0)
        if name not in self._kind.metric_names() or is_error:
            return None
        in_percent = self._kind.head == model_directory.QUESTION_ANSWERING
        return 1.0 if in_percent else _POINTS


def _make_kind(model_dir, info, given, params_override) -> kinds.Kind:
    make, defaults = _KINDS[info.head]
    table = _FLAGS[info.head]
    given = {name: v for name, v in given.items() if v is not None}
    for name in given:
        if name not in table:
            raise ValueError(
                f"--{name}: got it for a model with head {info.head}, "
                f"expected some of {', '.join(table)}"
            )
    params = experiment_builder.with_recorded_task(defaults(), model_dir)
    # It may be relative, or of caches; model_info.json has the folder.
    forgotten = ["task.data_dir"]
    if info.head == model_directory.SEQUENCE_CLASSIFICATION:
        # A GLUE task or files, whichever is given; the other training file
        # still calibrates.
        if "task_name" in given:
            forgotten += [_SOURCES["train_file"], _SOURCES["dev_file"]]
        elif "train_file" in given or "dev_file" in given:
            forgotten.append(_SOURCES["task_name"])
    params = experiment_flags.with_fields_of(params, defaults(), forgotten)
    return make(
        experiment_builder.build(
            params,
            [],
            params_override,
            {table[name]: value for name, value in given.items()},
        )
    )
