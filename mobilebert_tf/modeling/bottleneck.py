"""Bottlenecks: linear maps between the inter-block and intra-block widths.

Legend: B batch, S sequence, H hidden_size, b width inside the block.
"""

import tf_keras

from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import dropout as dropout_lib
from mobilebert_tf.modeling import normalization


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class Bottleneck(configured.ConfiguredLayer):
    """Norm(Dense(x)) from H to b: input, and shared key-query, bottleneck.

    Input [B, S, H], output [B, S, b] (paper section 3.1, Fig. 1c).
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.dense = configured.make_dense(config, config.block_size, "dense")
        self.normalization = normalization.make_normalization(
            config.normalization_type
        )

    def call(self, inputs):
        return self.normalization(self.dense(inputs))


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class OutputBottleneck(configured.ConfiguredLayer):
    """Norm(Dropout(Dense(x)) + residual) from b to H.

    Inputs [B, S, b] and the block input [B, S, H]; output [B, S, H].
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        self.dense = configured.make_dense(config, config.hidden_size, "dense")
        self.dropout = dropout_lib.CheckpointedDropout(
            config.hidden_dropout_prob, name="dropout"
        )
        self.normalization = normalization.make_normalization(
            config.normalization_type
        )

    def call(self, inputs, residual, training=None):
        outputs = self.dropout(self.dense(inputs), training=training)
        return self.normalization(outputs + residual)
