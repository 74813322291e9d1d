"""Runs fine-tuning, evaluation and prediction on multiple choice."""

import os
from collections.abc import Sequence

from absl import logging
from official.core import config_definitions

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.data import multiple_choice as data
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.evaluation import classification_set
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import prediction
from mobilebert_tf.fine_tuning import course
from mobilebert_tf.fine_tuning import kinds
from mobilebert_tf.fine_tuning import starting_models
from mobilebert_tf.tasks import fine_tuning
from mobilebert_tf.tasks import multiple_choice as tasks


def run(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    do_train: bool,
    do_eval: bool,
    predict_split: str = "",
) -> dict[str, float]:
    """Fine-tunes (or continues), evaluates on dev, predicts; see course.run.

    Predictions go to model_dir/predictions_SPLIT.tsv: index, choice, and then
    the probability of each choice.

    Args:
        params: multiple_choice_config.multiple_choice() with overrides.
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
        MultipleChoice(params), model_dir, do_train, do_eval, predict_split
    )


class MultipleChoice(kinds.Kind):
    """Multiple choice in SWAG's layout."""

    head = model_directory.MULTIPLE_CHOICE

    def __init__(self, params: config_definitions.ExperimentConfig):
        super().__init__(params)
        self._train_examples = None

    def check_split(self, split: str) -> None:
        data.read_examples(self._path(split), has_labels=False)

    def check_model(self, network, labels: Sequence[str]) -> None:
        del labels
        fine_tuning.check_frozen_blocks(self.config, network)
        tasks.check_loss(self.config.loss)

    def training_labels(self) -> tuple[str, ...]:
        self._train_examples = self._read(kinds.TRAIN)
        return ()

    def training_rows(
        self, reader: starting_models.Reader, output_dir: str
    ) -> rows_lib.ArrayRows:
        del output_dir
        return rows_lib.ArrayRows(self._features(self._train_examples, reader))

    def num_examples(self) -> int:
        return len(self._train_examples)

    def training_file(self) -> str:
        return self._path(kinds.TRAIN)

    def evaluation_sets(
        self, reader: starting_models.Reader, output_dir: str
    ) -> list[evaluation_set.EvaluationSet]:
        del output_dir
        examples = self._read(kinds.DEV)
        texts = [" | ".join((each.context, *each.choices)) for each in examples]
        features = self._features(examples, reader)
        return [
            classification_set.MultipleChoiceSet(kinds.DEV, features, texts)
        ]

    def metric_names(self) -> Sequence[str]:
        return "accuracy", kinds.VALIDATION_LOSS

    def make_task(self, network, labels, train_rows, **kwargs):
        del labels
        return tasks.MultipleChoiceTask(
            self.config, network, train_rows, **kwargs
        )

    def info_fields(self) -> dict[str, str]:
        return {"data_dir": os.path.abspath(self.config.data_dir)}

    def for_model(self, info: model_directory.ModelInfo, folder: str) -> None:
        super().for_model(info, folder)
        self.config = self.config.replace(
            data_dir=self.config.data_dir or info.data_dir
        )

    def predict(
        self, trained: starting_models.Trained, output_dir: str, split: str
    ) -> None:
        examples = self._read(split, has_labels=False)
        features = self._features(examples, trained.reader())
        probabilities = prediction.probabilities(
            self.predict_outputs(trained, rows_lib.ArrayRows(features))[
                "logits"
            ]
        )
        choices = [str(index) for index in range(probabilities.shape[1])]
        rows = ["\t".join(["index", "choice", *choices])]
        for index, row in enumerate(probabilities):
            fields = [index, row.argmax(), *(f"{p:.6f}" for p in row)]
            rows.append("\t".join(map(str, fields)))
        path = os.path.join(output_dir, f"predictions_{split}.tsv")
        files.write_text(path, "\n".join(rows) + "\n")
        logging.info("wrote %d predictions to %s", len(probabilities), path)

    def _path(self, split):
        return kinds.split_file(self.config, split)

    def _read(self, split, has_labels=True):
        path = self._path(split)
        examples = data.read_examples(path, has_labels)
        logging.info(
            "%s: %d examples of %d choices",
            path,
            len(examples),
            len(examples[0].choices),
        )
        return examples

    def _features(self, examples, reader):
        return data.features(
            examples, reader.make_tokenizer(), self.config.max_seq_length
        )
