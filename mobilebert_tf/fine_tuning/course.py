"""The course of every run that fine-tunes a head on labelled data."""

import functools
from collections.abc import Sequence

import tf_keras

from mobilebert_tf import model_directory
from mobilebert_tf import runtime
from mobilebert_tf.distillation import schedule
from mobilebert_tf.evaluation import evaluation_set
from mobilebert_tf.evaluation import model_outputs
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import optimization_config
from mobilebert_tf.fine_tuning import kinds
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.fine_tuning import search_folder
from mobilebert_tf.fine_tuning import starting_models
from mobilebert_tf.fine_tuning import teachers
from mobilebert_tf.quantization_aware import simulation
from mobilebert_tf.training import training_log
from mobilebert_tf.training import training_loop

_STAGE = "fine_tuning"


def run(
    kind: kinds.Kind,
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
        predict_split: kinds.DEV, kinds.TEST, or "" for none.

    Returns:
        The dev metrics; empty without do_eval.

    Raises:
        ValueError: for wrong input, in one line.
    """
    check_actions(do_train, do_eval, bool(predict_split))
    kind.check()
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
            kind.for_model(trained.info, trained.folder)
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
    if config.early_stopping_patience and not evaluate:
        raise ValueError(
            "task.early_stopping_patience: got "
            f"{config.early_stopping_patience}, expected 0 without --do_eval"
        )
    search_folder.check_holds_none(model_dir)
    labels = kind.training_labels()
    metric = selection_metric(kind)
    begin = starting_models.start(config, kind.head)
    kind.check_model(begin.network, labels)
    if config.quantization_aware:
        simulation.tell_dropout(begin.network)
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
        experiment_builder.write_params(params, folder)

    write_model(output_dir)
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
                num_steps=steps,
            ),
            lambda stage: optimizer_config,
            model_dir,
            evaluate,
            has_stalled if config.early_stopping_patience else None,
        )
    record.write_pages()
    return metrics


def evaluate_outputs(
    kind: kinds.Kind,
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


def selection_metric(kind: kinds.Kind) -> str:
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
    if trainer.train_steps < 1:
        raise ValueError(
            f"{config.num_train_epochs} epochs of {count} examples are less "
            f"than a batch of {batch_size}, expected at least one step"
        )
    return trainer.train_steps
