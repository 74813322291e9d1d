"""The trials of a search: one run for each of its settings and seeds."""

from typing import NamedTuple

from mobilebert_tf.experiments import fine_tuning_config
from mobilebert_tf.experiments import search_config


class Settings(NamedTuple):
    """What a search decides on.

    Attributes:
        global_batch_size: int.
        learning_rate: float. At its peak.
        num_train_epochs: float.
    """

    global_batch_size: int
    learning_rate: float
    num_train_epochs: float

    def __str__(self):
        return (
            f"batch {self.global_batch_size}, "
            f"rate {short(self.learning_rate)}, "
            f"epochs {short(self.num_train_epochs)}"
        )


class Trial(NamedTuple):
    """A run with some settings and a seed."""

    settings: Settings
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        settings = self.settings
        return (
            f"batch_{settings.global_batch_size}_"
            f"rate_{short(settings.learning_rate)}_"
            f"epochs_{short(settings.num_train_epochs)}_seed_{self.seed}"
        )

    def __str__(self):
        return f"{self.settings}, seed {self.seed}"


def short(value: float) -> str:
    """Returns the shortest text that reads as `value`."""
    return repr(value).removesuffix(".0")


def trials(
    params: fine_tuning_config.FineTuningExperimentConfig,
    space: search_config.SearchConfig,
) -> list[Trial]:
    """Returns all trials, those of the same settings one after the other.

    Args:
        params: the experiment.
        space: of search_config.checked.

    Raises:
        ValueError: if the space has epochs but the experiment a number of
            steps, or if its learning rate has no peak to set.
    """
    if params.trainer.train_steps and space.num_train_epochs:
        raise ValueError(
            f"trainer.train_steps={params.trainer.train_steps}: expected 0, "
            "for search.num_train_epochs to count"
        )
    batches = space.global_batch_sizes or [
        params.task.train_data.global_batch_size
    ]
    rates = space.learning_rates or [_rate(params).initial_learning_rate]
    epochs = space.num_train_epochs or [params.task.num_train_epochs]
    seeds = space.seeds or [params.task.seed]
    return [
        Trial(Settings(batch, rate, num_epochs), seed)
        for batch in batches
        for rate in rates
        for num_epochs in epochs
        for seed in seeds
    ]


def experiment_of(
    params: fine_tuning_config.FineTuningExperimentConfig, trial: Trial
) -> fine_tuning_config.FineTuningExperimentConfig:
    """Returns the experiment of a trial.

    Intervals of evaluation and of checkpoints, which are in steps, are
    stretched to as many examples as in `params`: with every batch size the
    best of equally many evaluations is kept.

    Args:
        params: the experiment; not modified.
        trial: of `trials`.
    """
    params = params.replace(search=search_config.SearchConfig())
    task, trainer, settings = params.task, params.trainer, trial.settings
    stretch = task.train_data.global_batch_size / settings.global_batch_size
    for interval in ("validation_interval", "checkpoint_interval"):
        steps = round(getattr(trainer, interval) * stretch)
        setattr(trainer, interval, max(1, steps))
    task.train_data.global_batch_size = settings.global_batch_size
    task.num_train_epochs = settings.num_train_epochs
    task.seed = task.train_data.seed = trial.seed
    rate = _rate(params)
    share = settings.learning_rate / rate.initial_learning_rate
    # Without the last, noisy digits of the product.
    rate.end_learning_rate = float(f"{rate.end_learning_rate * share:.12g}")
    rate.initial_learning_rate = settings.learning_rate
    return params


def _rate(params):
    config = params.trainer.optimizer_config.learning_rate
    rate = config.get()
    if not getattr(rate, "initial_learning_rate", 0) or not hasattr(
        rate, "end_learning_rate"
    ):
        raise ValueError(
            f"learning_rate.type={config.type}: expected polynomial, with an "
            "initial_learning_rate above 0, for a search"
        )
    return rate
