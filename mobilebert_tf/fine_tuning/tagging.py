"""Runs fine-tuning, evaluation and prediction of a tagger."""

import os
from collections.abc import Sequence

from absl import logging
from official.core import config_definitions

from mobilebert_tf import model_directory
from mobilebert_tf.data import columns
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.data import tag_schemes
from mobilebert_tf.data import tagging as data
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import tagging_set
from mobilebert_tf.fine_tuning import course
from mobilebert_tf.fine_tuning import kinds
from mobilebert_tf.fine_tuning import starting_models
from mobilebert_tf.tasks import fine_tuning
from mobilebert_tf.tasks import label_losses
from mobilebert_tf.tasks import tagging as tasks

_ENTITY_METRICS = (
    "f1",
    "precision",
    "recall",
    "strict_f1",
    "strict_precision",
    "strict_recall",
)


def run(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    do_train: bool,
    do_eval: bool,
    predict_split: str = "",
) -> dict[str, float]:
    """Fine-tunes (or continues), evaluates on dev, predicts; see course.run.

    Predictions go to model_dir/predictions_SPLIT.txt: the file's own lines,
    and the predicted tag as a last column.

    Args:
        params: tagging_config.tagging() with overrides.
        model_dir: folder of checkpoints, logs and configuration.
        do_train: bool. Train on the train file.
        do_eval: bool. Evaluate on the dev file.
        predict_split: "dev", "test", or "" for none.

    Returns:
        The dev metrics; empty without do_eval.

    Raises:
        ValueError: for wrong input, in one line.
    """
    return course.run(
        Tagging(params), model_dir, do_train, do_eval, predict_split
    )


def load_tagger(model_dir: str) -> starting_models.Trained:
    """Loads a fine-tuned tagger.

    Raises:
        ValueError: if `model_dir` holds another kind of model.
    """
    return starting_models.load(model_dir, model_directory.TOKEN_CLASSIFICATION)


class Tagging(kinds.Kind):
    """Token classification of files in columns."""

    head = model_directory.TOKEN_CLASSIFICATION

    def __init__(self, params: config_definitions.ExperimentConfig):
        super().__init__(params)
        self._train_sentences = None
        self._num_windows = None

    def check(self) -> None:
        super().check()
        tag_schemes.check_scheme(self.config.scheme)
        tag_schemes.check_labels(self.config.labels, self.config.scheme)

    def check_split(self, split: str) -> None:
        data.read_words(self._path(split), self.config.word_column)

    def check_model(self, network, labels: Sequence[str]) -> None:
        fine_tuning.check_frozen_blocks(self.config, network)
        label_losses.check(self.config.loss, labels)

    def training_labels(self) -> tuple[str, ...]:
        given = tuple(self.config.labels)
        self._train_sentences = data.read_sentences(
            self._path(kinds.TRAIN), self._layout(), given or None
        )
        tags = {tag for each in self._train_sentences for tag in each.tags}
        labels = given or tag_schemes.label_set(tags, self.config.scheme)
        logging.info("%d labels: %s", len(labels), " ".join(labels))
        return labels

    def training_rows(
        self, reader: starting_models.Reader, output_dir: str
    ) -> rows_lib.ArrayRows:
        del output_dir
        arrays = self._features(self._train_sentences, reader).arrays
        rows = rows_lib.ArrayRows(arrays)
        self._num_windows = len(rows)
        return rows

    def num_examples(self) -> int:
        return self._num_windows

    def training_file(self) -> str:
        return self._path(kinds.TRAIN)

    def evaluation_sets(
        self, reader: starting_models.Reader, output_dir: str
    ) -> list[evaluation_set.EvaluationSet]:
        del output_dir
        path = self._path(kinds.DEV)
        sentences = data.read_sentences(path, self._layout(), reader.labels)
        logging.info("%s: %d sentences", path, len(sentences))
        return [
            tagging_set.TaggingSet(
                kinds.DEV,
                sentences,
                self._features(sentences, reader),
                reader.labels,
                self.config.scheme,
            )
        ]

    def metric_names(self) -> Sequence[str]:
        has_entities = self.config.scheme != tag_schemes.NONE
        return (
            *(_ENTITY_METRICS if has_entities else ()),
            "accuracy",
            kinds.VALIDATION_LOSS,
        )

    def make_task(self, network, labels, train_rows, **kwargs):
        return tasks.TaggingTask(
            self.config, network, labels, train_rows, **kwargs
        )

    def info_fields(self) -> dict[str, str]:
        return {"data_dir": os.path.abspath(self.config.data_dir)}

    def for_model(self, info: model_directory.ModelInfo, folder: str) -> None:
        super().for_model(info, folder)
        tag_schemes.check_labels(info.labels, self.config.scheme)
        self.config = self.config.replace(
            data_dir=self.config.data_dir or info.data_dir
        )

    def predict(
        self, trained: starting_models.Trained, output_dir: str, split: str
    ) -> None:
        reader = trained.reader()
        source = self._path(split)
        sentences = data.read_words(source, self.config.word_column)
        features = self._features(sentences, reader)
        logits = self.predict_outputs(
            trained, rows_lib.ArrayRows(features.arrays)
        )["logits"]
        predictions = features.by_sentence(logits.argmax(-1), reader.labels)
        target = os.path.join(output_dir, f"predictions_{split}.txt")
        values = [tag for sentence in predictions for tag in sentence]
        columns.append_column(source, target, values)
        logging.info("wrote %d predictions to %s", len(values), target)

    def _path(self, split):
        return kinds.split_file(self.config, split)

    def _layout(self):
        return data.Layout(
            self.config.word_column,
            self.config.tag_column,
            self.config.scheme,
            self.config.check_transitions,
        )

    def _features(self, sentences, reader):
        return data.features(
            sentences,
            reader.make_tokenizer(),
            self.config.max_seq_length,
            reader.labels,
        )
