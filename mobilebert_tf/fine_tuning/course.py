"""The course of every run that fine-tunes a head on labelled data."""

import abc
import functools
import os
from collections.abc import Sequence

import numpy as np
import tf_keras
from official.core import config_definitions

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import runtime
from mobilebert_tf.data import rows as rows_lib
from mobilebert_tf.distillation import schedule
from mobilebert_tf.distillation import task_distillation
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import model_outputs
from mobilebert_tf.evaluation import prediction
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.fine_tuning import search_folder
from mobilebert_tf.fine_tuning import starting_models
from mobilebert_tf.fine_tuning import teachers
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.tasks import fine_tuning
from mobilebert_tf.training import training_log
from mobilebert_tf.training import training_loop

TRAIN = "train"
DEV = "dev"
TEST = "test"

VALIDATION_LOSS = "validation_loss"

_STAGE = "fine_tuning"


class Kind(abc.ABC):
    """What is special to a kind of task; an object is one task of it.

    Args:
        params: the experiment.

    Attributes:
        params: as above.
        config: params.task.
        head: one of model_directory.HEADS.
    """

    head: str

    def __init__(self, params: config_definitions.ExperimentConfig):
        self.params = params
        self.config = params.task

    def check(self, do_eval: bool) -> None:
        """Raises ValueError for fields that mean nothing.

        Args:
            do_eval: bool. Whether there are evaluations.
        """
        config = self.config
        for name in ("train_data", "validation_data"):
            size = getattr(config, name).global_batch_size
            if size < 1:
                raise ValueError(
                    f"task.{name}.global_batch_size: expected at least 1, got "
                    f"{size}"
                )
        patience = config.early_stopping_patience
        if patience < 0 or (patience and not do_eval):
            raise ValueError(
                f"task.early_stopping_patience: got {patience}, expected 0, "
                "or more with --do_eval"
            )
        validation_steps = self.params.trainer.validation_steps
        if validation_steps != -1:
            raise ValueError(
                f"trainer.validation_steps: got {validation_steps}, expected "
                "-1: the metrics are of whole sets"
            )
        task_distillation.check(config.distillation)

    @abc.abstractmethod
    def check_split(self, split: str) -> None:
        """Reads a file to predict on, for its mistakes to show."""

    @abc.abstractmethod
    def check_model(
        self, network: config_lib.MobileBertConfig, labels: Sequence[str]
    ) -> None:
        """Raises ValueError for fields that do not fit the model."""

    @abc.abstractmethod
    def training_labels(self) -> tuple[str, ...]:
        """Reads the training file; returns its labels, () without."""

    @abc.abstractmethod
    def training_rows(
        self, reader: starting_models.Reader, output_dir: str
    ) -> rows_lib.Rows:
        """Returns the rows to train on, with targets.

        Args:
            reader: what features are made with.
            output_dir: of the run, for caches.
        """

    @abc.abstractmethod
    def num_examples(self) -> int:
        """Returns the number of examples of an epoch, once they are read."""

    @abc.abstractmethod
    def training_file(self) -> str:
        """Returns where the training data are, for messages."""

    @abc.abstractmethod
    def evaluation_sets(
        self, reader: starting_models.Reader, output_dir: str
    ) -> list[evaluation_set.EvaluationSet]:
        """Returns the sets to evaluate on, that which selects first.

        Args:
            reader: what features are made with.
            output_dir: of the run, for caches.
        """

    @abc.abstractmethod
    def metric_names(self) -> Sequence[str]:
        """Returns the metrics that can select a model, the default first."""

    @abc.abstractmethod
    def make_task(
        self,
        network: config_lib.MobileBertConfig,
        labels: Sequence[str],
        train_rows: rows_lib.Rows,
        **kwargs,
    ) -> fine_tuning.FineTuningTask:
        """Returns the Model Garden task; kwargs are FineTuningTask's."""

    @abc.abstractmethod
    def predict(
        self, trained: starting_models.Trained, output_dir: str, split: str
    ) -> None:
        """Writes predictions to the folder of the run."""

    def info_fields(self) -> dict[str, str]:
        """Returns what ModelInfo records of the task, by field."""
        return {}

    def share_caches(self, folder: str) -> None:
        """Keeps what is cached in `folder`, for several runs on the data."""
        del folder

    def for_model(self, info: model_directory.ModelInfo) -> None:
        """Takes over what a trained model says of its use.

        Raises:
            ValueError: if the task does not fit the model.
        """
        self.config = self.config.replace(max_seq_length=info.max_seq_length)

    def predict_outputs(
        self,
        trained: starting_models.Trained,
        rows: rows_lib.Rows,
        output_names: Sequence[str] = ("logits",),
    ) -> dict[str, np.ndarray]:
        """Returns a model's outputs on some rows; see prediction.predict."""
        return prediction.predict(
            trained.model,
            rows,
            output_names,
            self.config.validation_data.global_batch_size,
        )


def run(
    kind: Kind,
    model_dir: str,
    do_train: bool,
    do_eval: bool,
    predict_split: str = "",
) -> dict[str, float]:
    """Fine-tunes (or continues), evaluates on dev, predicts.

    With do_eval the best model of a run is kept in model_dir/best; it is what
    is evaluated without training, and what predicts.

    Args:
        kind: of the task.
        model_dir: folder of checkpoints, logs and configuration.
        do_train: bool. Train on the train file.
        do_eval: bool. Evaluate on the dev file; see model_selection for what
            is written.
        predict_split: DEV, TEST, or "" for none.

    Returns:
        The dev metrics; empty without do_eval.

    Raises:
        ValueError: for wrong input, in one line.
    """
    check_actions(do_train, do_eval, bool(predict_split))
    kind.check(do_eval)
    strategy = runtime.set_up(kind.params.runtime)
    if do_train and predict_split:
        # A missing file should not show after hours of training.
        kind.check_split(predict_split)
    metrics = {}
    with runtime.output_directory(strategy, model_dir) as output_dir:
        if do_train:
            metrics = train(kind, model_dir, output_dir, do_eval, strategy)
        if predict_split or (do_eval and not do_train):
            trained = starting_models.load_trained(
                kind.config, model_dir, kind.head
            )
            kind.for_model(trained.info)
            if do_eval and not do_train:
                metrics = _evaluate(kind, trained, output_dir, strategy)
            if predict_split:
                kind.predict(trained, output_dir, predict_split)
    return metrics


def check_actions(*actions: bool) -> None:
    """Raises ValueError if there is nothing to do."""
    if not any(actions):
        raise ValueError(
            "nothing to do: give --do_train, --do_eval or --do_predict"
        )


def train(kind, model_dir, output_dir, evaluate, strategy) -> dict[str, float]:
    """Writes what the model is, and trains it.

    Args:
        kind: of the task; trainer.train_steps is filled in.
        model_dir: folder of checkpoints, logs and configuration.
        output_dir: what runtime.output_directory made of it.
        evaluate: bool. Evaluate on the dev file.
        strategy: what runtime.set_up returned.

    Returns:
        The dev metrics; empty without `evaluate`.

    Raises:
        ValueError: for wrong input, less than a batch of examples, or if
            `model_dir` holds another model or run.
    """
    config, params = kind.config, kind.params
    search_folder.check_holds_none(model_dir)
    labels = kind.training_labels()
    metric = selection_metric(kind)
    begin = starting_models.start(config, kind.head)
    kind.check_model(begin.network, labels)
    info = model_directory.ModelInfo(
        head=kind.head,
        max_seq_length=config.max_seq_length,
        lower_case=begin.lower_case,
        labels=labels,
        **kind.info_fields(),
    )
    with strategy.scope():
        teacher = teachers.load(
            config.distillation, info, begin.network, begin.vocab_file
        )
    reader = begin.reader(labels)
    # Before features are cached there: the folder may be another model's.
    experiment_builder.check_continues(params, model_dir)
    train_rows = kind.training_rows(reader, output_dir)
    sets = kind.evaluation_sets(reader, output_dir) if evaluate else ()
    steps = _fill_in_steps(kind)
    optimizer_config = optimization_config.complete(
        params.trainer.optimizer_config,
        steps,
        warmup_steps=int(steps * config.warmup_proportion),
    )
    tf_keras.utils.set_random_seed(config.seed)
    experiment_builder.check_continues(params, model_dir)

    def write_model(folder):
        model_directory.write(folder, begin.network, info, begin.vocab_file)

    write_model(output_dir)
    experiment_builder.write_params(params, output_dir)
    record = model_selection.EvaluationRecord(
        output_dir, labels, metric, write_model if config.keep_best else None
    )
    has_stalled = functools.partial(
        model_selection.has_stalled,
        metric=metric,
        patience=config.early_stopping_patience,
    )
    teacher_logits = {}
    if teacher is not None and training_loop.saved_step(model_dir) < steps:
        teacher_logits = teacher.teacher_logits(train_rows)
    with strategy.scope():
        metrics = training_loop.run_stages(
            params,
            [schedule.Stage(_STAGE, 0, steps)],
            lambda stage, start_step: kind.make_task(
                begin.network,
                labels,
                train_rows,
                evaluation_sets=sets,
                start_step=start_step,
                encoder=begin.encoder,
                head=begin.head_for(labels),
                distillation=teacher,
                teacher_logits=teacher_logits,
                on_evaluation=record,
            ),
            lambda stage: optimizer_config,
            model_dir,
            evaluate,
            has_stalled if config.early_stopping_patience else None,
        )
    record.write_pages()
    return metrics


def evaluate_outputs(
    kind: Kind,
    trained: starting_models.Trained,
    sets: Sequence[evaluation_set.EvaluationSet],
) -> list[evaluation_set.Evaluated]:
    """Runs a trained model on sets, and scores it."""
    evaluated = []
    for each in sets:
        outputs = model_outputs.predict(
            each,
            trained.model,
            kind.config.validation_data.global_batch_size,
        )
        evaluated.append(
            evaluation_set.Evaluated(each, outputs, each.measure(outputs))
        )
    return evaluated


def log_validation(
    trained: starting_models.Trained,
    metrics: dict[str, float],
    model_dir: str,
    strategy,
) -> None:
    """Writes metrics to the log of the folder that the model is from."""
    folder = trained.folder or model_dir
    with runtime.output_directory(strategy, folder) as log_dir:
        training_log.write_validation(
            log_dir, _STAGE, step_of(trained), metrics
        )


def step_of(trained: starting_models.Trained) -> int:
    """Returns the global step of a trained model, 0 if it has none."""
    return training_loop.saved_step(trained.folder) if trained.folder else 0


def selection_metric(kind: Kind) -> str:
    """Returns the metric that selects the best model.

    Raises:
        ValueError: for one that the task does not have.
    """
    known = kind.metric_names()
    metric = kind.config.selection_metric or known[0]
    if metric not in known:
        raise ValueError(
            f"task.selection_metric: expected one of {', '.join(known)}, got "
            f"{metric!r}"
        )
    return metric


def _evaluate(kind, trained, output_dir, strategy):
    sets = kind.evaluation_sets(trained.reader(), output_dir)
    evaluated = evaluate_outputs(kind, trained, sets)
    metrics = evaluation_set.joint_metrics(evaluated)
    record = model_selection.EvaluationRecord(
        output_dir, trained.info.labels, selection_metric(kind)
    )
    record(trained.model, step_of(trained), metrics, evaluated)
    record.write_pages()
    log_validation(trained, metrics, output_dir, strategy)
    return metrics


def _fill_in_steps(kind):
    """Returns trainer.train_steps, by the number of epochs if it is 0."""
    config, trainer = kind.config, kind.params.trainer
    batch_size = config.train_data.global_batch_size
    count = kind.num_examples()
    if count < batch_size:
        raise ValueError(
            f"{kind.training_file()}: {count} examples are fewer than a batch "
            f"of {batch_size}"
        )
    if not trainer.train_steps:
        trainer.train_steps = int(count / batch_size * config.num_train_epochs)
    return trainer.train_steps


def split_file(config, split: str) -> str:
    """Returns the file of a split of a FolderTaskConfig.

    Raises:
        ValueError: if the folder or the file is missing.
    """
    files.require_directory(config.data_dir, "data_dir")
    name = getattr(config, f"{split}_file")
    found = os.path.join(config.data_dir, name)
    if not name or not os.path.isfile(found):
        raise ValueError(
            f"task.{split}_file: got {name!r}, expected a file of "
            f"{config.data_dir}"
        )
    return found
