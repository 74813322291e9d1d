"""Runs fine-tuning, evaluation and prediction of sentence classification."""

import os
from collections.abc import Sequence

from absl import logging
from official.core import config_definitions

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.data import classification_sources as sources
from mobilebert_tf.data import glue
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.evaluation import classification_set
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import glue_submission
from mobilebert_tf.evaluation import prediction
from mobilebert_tf.fine_tuning import course
from mobilebert_tf.fine_tuning import kinds
from mobilebert_tf.fine_tuning import starting_models
from mobilebert_tf.tasks import classification as tasks
from mobilebert_tf.tasks import fine_tuning
from mobilebert_tf.tasks import label_losses


def run(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    do_train: bool,
    do_eval: bool,
    predict_split: str = "",
) -> dict[str, float]:
    """Fine-tunes (or continues), evaluates on dev, predicts; see course.run.

    Of MNLI both dev sets are evaluated. Predictions go to
    model_dir/predictions_SPLIT.tsv: index, label and the probability of each
    label, or the value of a regression; those on a test set of GLUE also to
    its file for the GLUE server.

    Args:
        params: classification_config.classification() with overrides.
        model_dir: folder of checkpoints, logs and configuration.
        do_train: bool. Train on the train split.
        do_eval: bool. Evaluate on the dev split.
        predict_split: "dev", "test", or "" for none.

    Returns:
        The dev metrics; empty without do_eval.

    Raises:
        ValueError: for wrong input, in one line.
    """
    return course.run(
        Classification(params), model_dir, do_train, do_eval, predict_split
    )


def load_classifier(model_dir: str) -> starting_models.Trained:
    """Loads a fine-tuned classifier.

    Raises:
        ValueError: if `model_dir` holds another kind of model.
    """
    return starting_models.load(
        model_dir, model_directory.SEQUENCE_CLASSIFICATION
    )


class Classification(kinds.Kind):
    """Classification or regression, of GLUE or a user's own tables."""

    head = model_directory.SEQUENCE_CLASSIFICATION

    def __init__(self, params: config_definitions.ExperimentConfig):
        super().__init__(params)
        self._source = None
        self._train_examples = None
        # Of the trained model in use, GLUE's name.
        self._trained_on = None

    def check(self) -> None:
        super().check()
        if sources.has_files(self.config.table) and self.config.task_name:
            raise ValueError(
                f"expected a GLUE task or own files, got --task_name="
                f"{self.config.task_name} and one of --train_file, --dev_file "
                "and --test_file"
            )

    def check_split(self, split: str) -> None:
        source = self._training_source()
        for each in source.splits_of(split):
            source.read(each)

    def check_model(self, network, labels: Sequence[str]) -> None:
        fine_tuning.check_frozen_blocks(self.config, network)
        if glue.is_regression(labels):
            label_losses.check_without_classes(self.config.loss, "a regression")
        else:
            label_losses.check(self.config.loss, labels)

    def training_labels(self) -> tuple[str, ...]:
        return tuple(self._training_source().labels)

    def training_rows(
        self, reader: starting_models.Reader, output_dir: str
    ) -> rows_lib.ArrayRows:
        del output_dir
        self._train_examples = self._read(glue.TRAIN)
        return rows_lib.ArrayRows(self._features(self._train_examples, reader))

    def num_examples(self) -> int:
        return len(self._train_examples)

    def training_file(self) -> str:
        config = self.config
        return config.data_dir or config.table.train_file or config.task_name

    def evaluation_sets(
        self, reader: starting_models.Reader, output_dir: str
    ) -> list[evaluation_set.EvaluationSet]:
        del output_dir
        sets = []
        for split in self._source.splits_of(glue.DEV):
            examples = self._read(split)
            sets.append(
                make_set(
                    split,
                    examples,
                    self._features(examples, reader),
                    self._source,
                )
            )
        return sets

    def metric_names(self) -> Sequence[str]:
        return *self._source.metrics, kinds.VALIDATION_LOSS

    def make_task(self, network, labels, train_rows, **kwargs):
        if glue.is_regression(labels):
            return tasks.RegressionTask(
                self.config, network, train_rows, **kwargs
            )
        return tasks.ClassificationTask(
            self.config, network, labels, train_rows, **kwargs
        )

    def info_fields(self) -> dict[str, str]:
        task, data_dir = self._source.task, self.config.data_dir
        if task is None:
            return {}
        return {
            "task_name": task.name,
            "data_dir": os.path.abspath(data_dir) if data_dir else "",
        }

    def for_model(self, info: model_directory.ModelInfo, folder: str) -> None:
        super().for_model(info, folder)
        self._source = source_for(self.config, info)
        self._trained_on = info.task_name

    def predict(
        self, trained: starting_models.Trained, output_dir: str, split: str
    ) -> None:
        for each in self._source.splits_of(split):
            features = self._features(self._read(each), trained.reader())
            logits = self.predict_outputs(
                trained, rows_lib.ArrayRows(features)
            )["logits"]
            self._write_predictions(logits, output_dir, each)

    def _write_predictions(self, logits, output_dir, split):
        labels, task = self._source.labels, self._source.task
        if glue.is_regression(labels):
            predicted = logits[:, 0]
            columns = [[f"{value:.6f}"] for value in predicted]
            header = ["index", "prediction"]
        else:
            probabilities = prediction.probabilities(logits)
            predicted = [labels[row.argmax()] for row in probabilities]
            columns = [
                [label, *(f"{p:.6f}" for p in row)]
                for label, row in zip(predicted, probabilities, strict=True)
            ]
            header = ["index", "prediction", *labels]
        rows = [header, *([str(i), *row] for i, row in enumerate(columns))]
        path = os.path.join(output_dir, self._predictions_file(split))
        files.write_text(path, "".join("\t".join(r) + "\n" for r in rows))
        logging.info("wrote %d predictions to %s", len(predicted), path)
        if task is not None:
            path = glue_submission.write(task, split, predicted, output_dir)
            if path:
                logging.info("wrote the file for the GLUE server to %s", path)

    def _predictions_file(self, split):
        """Returns a name that another task's predictions do not have."""
        task = self._source.task
        if task is None or task.name == self._trained_on:
            return f"predictions_{split}.tsv"
        return f"predictions_{task.name}_{split}.tsv"

    def _training_source(self):
        if self._source is None:
            table = self.config.table
            if sources.has_files(table):
                self._source = sources.TableSource(table)
            else:
                task = glue.get_task(self.config.task_name)
                self._source = sources.GlueSource(
                    task, self.config.data_dir, self.config.tfds_data_dir
                )
        return self._source

    def _read(self, split):
        examples = self._source.read(split)
        logging.info("%s: %d examples", split, len(examples))
        return examples

    def _features(self, examples, reader):
        return glue.features(
            examples,
            reader.make_tokenizer(),
            self.config.max_seq_length,
            self._source.labels,
        )


def make_set(
    name: str, examples: Sequence[glue.Example], features, source
) -> evaluation_set.EvaluationSet:
    """Returns the evaluation set of labelled examples.

    Args:
        name: of the set.
        examples: with labels.
        features: of glue.features.
        source: of data.classification_sources.
    """
    texts = [
        e.text_a if e.text_b is None else f"{e.text_a} | {e.text_b}"
        for e in examples
    ]
    if glue.is_regression(source.labels):
        return classification_set.RegressionSet(
            name, features, source.metrics, texts
        )
    return classification_set.ClassificationSet(
        name, features, source.labels, source.metrics, texts
    )


def source_for(config, info: model_directory.ModelInfo):
    """Returns the source of a trained model's examples; labels must agree.

    Args:
        config: ClassificationTaskConfig.
        info: of the model.

    Raises:
        ValueError: if there is no task, or it has other labels.
    """
    if sources.has_files(config.table):
        return sources.TableSource(config.table, info.labels)
    name = config.task_name or info.task_name
    if not name:
        raise ValueError(
            "the model names no task (converted models and those of own "
            "tables do not): give --task_name and --data_dir, or --dev_file "
            "or --test_file"
        )
    task = glue.get_task(name)
    if task.labels != info.labels:
        labels = ",".join(task.labels)
        raise ValueError(
            f"the model has labels {', '.join(info.labels)} but "
            f"{task.name} has {', '.join(task.labels)}; if they mean "
            f"the same, convert the model again with --labels={labels}"
        )
    return sources.GlueSource(
        task, config.data_dir or info.data_dir, config.tfds_data_dir
    )
