"""Which network a run has."""

import dataclasses

from official.modeling.hyperparams import base_config


@dataclasses.dataclass
class ModelConfig(base_config.Config):
    """Which network.

    Attributes:
        preset: str. Name in mobilebert_tf.modeling.config.PRESETS; used when
            bert_config_file is empty. The size of the word table follows the
            vocabulary file.
        bert_config_file: str. A bert_config.json; its vocab_size must equal
            the vocabulary's.
        vocab_file: str. One token per line.
        lower_case: bool. Whether the vocabulary is uncased.
        hidden_dropout_prob: float or None. Replaces the network's.
        attention_probs_dropout_prob: float or None. Replaces the network's.
    """

    preset: str = "mobilebert"
    bert_config_file: str = ""
    vocab_file: str = ""
    lower_case: bool = True
    hidden_dropout_prob: float | None = None
    attention_probs_dropout_prob: float | None = None
