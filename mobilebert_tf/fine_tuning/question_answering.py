"""Runs fine-tuning, evaluation and prediction on SQuAD.

model_dir/
  predictions.json         the answer to each question
  nbest_predictions.json   its candidates
  null_odds.json           v2.0: null score minus that of the best answer
  evaluation_dev.json, evaluation_predictions.json
                           official scores of the newest evaluation, and
                           of the files above; as .html with the worst errors
  features/                windows of the files read, see feature_cache
"""

import json
import os
from collections.abc import Sequence

from absl import logging
from official.core import config_definitions

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import runtime
from mobilebert_tf.data import squad_rows
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import span_decoding
from mobilebert_tf.evaluation import span_set
from mobilebert_tf.fine_tuning import course
from mobilebert_tf.fine_tuning import kinds
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.fine_tuning import question_answering_data as data_lib
from mobilebert_tf.fine_tuning import starting_models
from mobilebert_tf.tasks import fine_tuning
from mobilebert_tf.tasks import question_answering as tasks

_PREDICTIONS = "predictions"
# By which a model may be selected, in v1.1 and in v2.0.
_METRICS = {
    False: ("f1", "exact_match"),
    True: ("f1", "exact", "best_f1", "best_exact"),
}
_TUNED_METRICS = ("exact", "f1")


def run(
    params: config_definitions.ExperimentConfig,
    model_dir: str,
    do_train: bool,
    do_eval: bool = False,
    do_predict: bool = False,
) -> dict[str, float]:
    """Fine-tunes (or continues), evaluates and predicts.

    With do_eval the best model of a run is kept in model_dir/best; it is what
    is evaluated without training, and what predicts.

    Args:
        params: question_answering_config.question_answering() with overrides.
        model_dir: folder of checkpoints, logs and answers.
        do_train: bool. Train on task.train_data.input_path.
        do_eval: bool. Score task.validation_data.input_path, as the run goes
            on if with do_train.
        do_predict: bool. Write the answers to that file's questions, and
            score them if the file has answers too.

    Returns:
        The official scores, of the predictions rather than of the run; empty
        without.

    Raises:
        ValueError: for wrong input, in one line.
    """
    course.check_actions(do_train, do_eval, do_predict)
    kind = QuestionAnswering(params)
    kind.check()
    if do_train and do_predict and not do_eval:
        # Else it would show after hours of training.
        kind.check_threshold_is_given()
    strategy = runtime.set_up(params.runtime)
    if do_eval or do_predict:
        # A mistake in it should not show after hours of training.
        kind.read_evaluated(needs_answers=do_eval)
    metrics = {}
    with runtime.output_directory(strategy, model_dir) as output_dir:
        if do_train:
            metrics = course.train(
                kind, model_dir, output_dir, do_eval, strategy
            )
        if do_predict or not do_train:
            trained = starting_models.load_trained(
                kind.config, model_dir, kind.head
            )
            kind.for_model(trained.info, trained.folder)
            names = [_PREDICTIONS] if do_predict else []
            if do_eval and not do_train:
                names.append(kinds.DEV)
            scores = _answer(kind, trained, output_dir, names)
            if scores:
                course.log_validation(trained, scores, model_dir, strategy)
                metrics = scores
    return metrics


class QuestionAnswering(kinds.Kind):
    """Extractive question answering of files in SQuAD's layout."""

    head = model_directory.QUESTION_ANSWERING

    def __init__(self, params: config_definitions.ExperimentConfig):
        super().__init__(params)
        self._train_examples = None
        self._evaluated_examples = None
        self._null_threshold = params.task.decoding.null_score_diff_threshold

    def check(self) -> None:
        super().check()
        config = self.config
        tuned = config.decoding.tuned_null_threshold
        if tuned and (
            tuned not in _TUNED_METRICS or not config.version_2_with_negative
        ):
            raise ValueError(
                f"--tuned_null_threshold: got {tuned!r}, expected "
                f"{' or '.join(_TUNED_METRICS)} with "
                "--version_2_with_negative, or nothing"
            )
        threshold = config.decoding.null_score_diff_threshold
        if tuned and threshold:
            raise ValueError(
                f"--tuned_null_threshold={tuned} and "
                f"--null_score_diff_threshold={threshold}: expected one of "
                "them"
            )
        course.selection_metric(self)
        data_lib.check_lengths(config)
        self._options(config.model.lower_case, threshold)

    def check_split(self, split: str) -> None:
        del split
        self.read_evaluated(needs_answers=False)

    def check_model(self, network, labels: Sequence[str]) -> None:
        del labels
        fine_tuning.check_frozen_blocks(self.config, network)

    def read_evaluated(self, needs_answers: bool) -> None:
        """Reads the questions to answer.

        Raises:
            ValueError: see question_answering_data.read_evaluated.
        """
        self._evaluated_examples = data_lib.read_evaluated(
            self.config, needs_answers
        )

    def is_scorable(self) -> bool:
        """Returns whether the questions to answer come with answers."""
        return data_lib.is_scorable(self.config, self._evaluated_examples)

    def training_labels(self) -> tuple[str, ...]:
        self._train_examples = data_lib.read_training(self.config)
        return ()

    def training_rows(
        self, reader: starting_models.Reader, output_dir: str
    ) -> squad_rows.WindowRows:
        questions = data_lib.with_windows(
            self.config,
            self._train_examples,
            reader.vocab_file,
            reader.lower_case,
            output_dir,
            is_training=True,
            tokenizer_mode=reader.tokenizer_mode,
        )
        return squad_rows.WindowRows(questions.features, with_positions=True)

    def num_examples(self) -> int:
        return len(self._train_examples)

    def training_file(self) -> str:
        return self.config.train_data.input_path

    def evaluation_sets(
        self, reader: starting_models.Reader, output_dir: str
    ) -> list[evaluation_set.EvaluationSet]:
        if self._evaluated_examples is None:
            self.read_evaluated(needs_answers=True)
        return [self.make_set(kinds.DEV, reader, output_dir)]

    def make_set(
        self,
        name: str,
        reader: starting_models.Reader,
        output_dir: str,
    ) -> span_set.SpanSet:
        """Returns the questions to answer, with or without answers.

        Args:
            name: of the set.
            reader: what features are made with.
            output_dir: of the run, for caches.
        """
        questions = data_lib.with_windows(
            self.config,
            self._evaluated_examples,
            reader.vocab_file,
            reader.lower_case,
            output_dir,
            is_training=False,
            tokenizer_mode=reader.tokenizer_mode,
        )
        options = self._options(reader.lower_case, self._null_threshold)
        return span_set.SpanSet(name, questions, options)

    def metric_names(self) -> Sequence[str]:
        return _METRICS[self.config.version_2_with_negative]

    def make_task(self, network, labels, train_rows, **kwargs):
        del labels
        return tasks.QuestionAnsweringTask(
            self.config, network, train_rows, **kwargs
        )

    def share_caches(self, folder: str) -> None:
        if not self.config.data_dir:
            self.config.data_dir = os.path.join(folder, data_lib.FOLDER)

    def for_model(self, info: model_directory.ModelInfo, folder: str) -> None:
        """Takes over the tuned threshold; windows may have any length."""
        del info
        self._null_threshold = self._threshold_of(folder)

    def check_threshold_is_given(self) -> None:
        """Raises ValueError if the threshold is to come from evaluations."""
        tuned = self.config.decoding.tuned_null_threshold
        if tuned:
            raise ValueError(
                f"--tuned_null_threshold={tuned}: expected --do_eval with "
                "--do_train, for an evaluation to be kept with the model"
            )

    def _threshold_of(self, folder):
        """Returns the threshold given, or that of the evaluation in `folder`.

        Raises:
            ValueError: if there is none.
        """
        tuned = self.config.decoding.tuned_null_threshold
        if not tuned:
            return self.config.decoding.null_score_diff_threshold
        metric = f"best_{tuned}_thresh"
        threshold = None
        if folder:
            threshold = model_selection.kept_metric(folder, kinds.DEV, metric)
        if threshold is None:
            raise ValueError(
                f"--tuned_null_threshold={tuned}: no evaluation is kept with "
                "the model: run with --do_eval first"
            )
        logging.info("null threshold %.4f: %s of %s", threshold, metric, folder)
        return threshold

    def predict(
        self, trained: starting_models.Trained, output_dir: str, split: str
    ) -> None:
        del split
        _answer(self, trained, output_dir, [_PREDICTIONS])

    def _options(self, lower_case, null_threshold):
        config = self.config
        return span_decoding.DecodingOptions(
            n_best_size=config.decoding.n_best_size,
            max_answer_length=config.decoding.max_answer_length,
            lower_case=lower_case,
            version_2_with_negative=config.version_2_with_negative,
            null_score_diff_threshold=null_threshold,
        )


def _answer(kind, trained, output_dir, names):
    """Answers questions; returns the scores, empty without answers to them.

    Writes evaluation_NAME.json of each name; for _PREDICTIONS the answers too.
    """
    trained.network.check_sequence_length(
        kind.config.max_seq_length, "--max_seq_length"
    )
    each = kind.make_set(kinds.DEV, trained.reader(), output_dir)
    outputs = kind.predict_outputs(trained, each, each.output_names)
    predictions = each.decode(outputs)
    if _PREDICTIONS in names:
        _write(kind.config, predictions, output_dir)
    if not kind.is_scorable():
        return {}
    measurement = each.score(predictions)
    record = model_selection.EvaluationRecord(
        output_dir, (), course.selection_metric(kind)
    )
    for name in names:
        each.name = name
        record(
            trained.model,
            course.step_of(trained),
            measurement.metrics,
            [evaluation_set.Evaluated(each, outputs, measurement)],
        )
    record.write_pages()
    return measurement.metrics


def _write(config, predictions, output_dir):
    """Writes the answers in the official files, each whole or not at all."""
    texts, n_best, null_odds = span_decoding.json_files(predictions)
    contents = {"predictions": texts, "nbest_predictions": n_best}
    if config.version_2_with_negative:
        contents["null_odds"] = null_odds
    for name, content in contents.items():
        path = os.path.join(output_dir, f"{name}.json")
        files.write_text(path, json.dumps(content, indent=4) + "\n")
    logging.info("wrote %d predictions to %s", len(texts), output_dir)
