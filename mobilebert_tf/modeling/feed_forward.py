"""Feed-forward network of a block.

Legend: B batch, S sequence, b width inside the block.
"""

import tf_keras

from mobilebert_tf.modeling import activations
from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import dropout as dropout_lib
from mobilebert_tf.modeling import normalization


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class FeedForwardNetwork(configured.ConfiguredLayer):
    """Norm(Dense(act(Dense(x))) + x), [B, S, b] to [B, S, b].

    Stacked `num_feedforward_networks` times in a block (paper section 3.3).

    Args:
        dropout_rate: float in [0, 1), applied before the residual. The
            reference drops out only in the last network of a block without
            bottleneck.
    """

    def __init__(self, config, dropout_rate: float = 0.0, **kwargs):
        super().__init__(config, **kwargs)
        self.dropout_rate = dropout_rate
        self.intermediate = configured.make_dense(
            config,
            config.intermediate_size,
            "intermediate",
            activation=activations.get(config.hidden_act),
        )
        self.output_dense = configured.make_dense(
            config, config.block_size, "output"
        )
        self.dropout = dropout_lib.CheckpointedDropout(
            dropout_rate, name="dropout"
        )
        self.normalization = normalization.make_normalization(
            config.normalization_type
        )

    def call(self, inputs, training=None):
        outputs = self.output_dense(self.intermediate(inputs))
        outputs = self.dropout(outputs, training=training)
        return self.normalization(outputs + inputs)

    def get_config(self):
        return {**super().get_config(), "dropout_rate": self.dropout_rate}
