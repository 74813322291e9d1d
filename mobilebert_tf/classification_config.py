"""Parts of the configuration of fine-tuning on sentence classification."""

import dataclasses

from official.modeling.hyperparams import base_config


@dataclasses.dataclass
class ClassificationDataConfig(base_config.Config):
    """Batches of examples.

    Attributes:
        global_batch_size: int. Examples per step over all replicas.
        is_training: bool. Shuffle and repeat.
        seed: int. Of the shuffling.
    """

    global_batch_size: int = 32
    is_training: bool = True
    seed: int = 0


@dataclasses.dataclass
class TableConfig(base_config.Config):
    """A user's own TSV, CSV or JSONL files; see mobilebert_tf.data.tables.

    Attributes:
        train_file: str. Its labels are those of the model.
        dev_file: str.
        test_file: str. Needs no labels.
        text_column: str. Of the (first) text.
        text_b_column: str. Of the second text of pairs; "" for single texts.
        label_column: str.
        regression: bool. The labels are numbers to predict.
    """

    train_file: str = ""
    dev_file: str = ""
    test_file: str = ""
    text_column: str = "text"
    text_b_column: str = ""
    label_column: str = "label"
    regression: bool = False


@dataclasses.dataclass
class ClassificationLossConfig(base_config.Config):
    """How examples and labels count in training; evaluation is not changed.

    Attributes:
        class_weights: list of float. Weight of the examples of each class, in
            the order of the labels; [] weighs all alike. The loss is the
            weighted mean.
        balance_classes: bool. Weigh each class by N / (C N_c): N examples, C
            classes, N_c examples of the class (scikit-learn's "balanced").
        label_smoothing: float in [0, 1). Share of each label that is spread
            evenly over all classes.
    """

    class_weights: list[float] = dataclasses.field(default_factory=list)
    balance_classes: bool = False
    label_smoothing: float = 0.0
