"""One MobileBERT block (paper Fig. 1b teacher, 1c student).

Legend: B batch, S sequence, Q positions read, H hidden_size, N heads.
"""

import tensorflow as tf
import tf_keras

from mobilebert_tf.modeling import attention
from mobilebert_tf.modeling import bottleneck
from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import feed_forward


@tf_keras.utils.register_keras_serializable(package="mobilebert_tf")
class MobileBertBlock(configured.ConfiguredLayer):
    """Bottleneck, attention, stacked feed-forward networks, bottleneck.

    Without `use_bottleneck` it is a BERT layer.

    Inputs: [B, S, H], attention_mask [B, 1, 1, S], 1 real and 0 padding, and
    read_positions int [B, Q] or None: compute the outputs of these positions
    only. Keys and values need all of them.
    Outputs: [B, S, H] and attention scores [B, N, S, S] before softmax; with
    read_positions [B, Q, H] and [B, N, Q, S].
    """

    def __init__(self, config, **kwargs):
        super().__init__(config, **kwargs)
        if config.use_bottleneck:
            self.input_bottleneck = bottleneck.Bottleneck(
                config, name="bottleneck_input"
            )
            self.output_bottleneck = bottleneck.OutputBottleneck(
                config, name="bottleneck_output"
            )
        if self._has_key_query_bottleneck:
            self.key_query_bottleneck = bottleneck.Bottleneck(
                config, name="bottleneck_attention"
            )
        self.attention = attention.MultiHeadSelfAttention(
            config, name="attention_self"
        )
        self.attention_output = attention.AttentionOutput(
            config, name="attention_output"
        )
        last = config.num_feedforward_networks - 1
        self.feed_forward_networks = [
            feed_forward.FeedForwardNetwork(
                config,
                dropout_rate=(
                    config.hidden_dropout_prob
                    if k == last and not config.use_bottleneck
                    else 0.0
                ),
                name=f"ffn_{k}",
            )
            for k in range(config.num_feedforward_networks)
        ]

    def call(self, inputs, attention_mask, training=None, read_positions=None):
        layer_input = inputs
        if self.config.use_bottleneck:
            layer_input = self.input_bottleneck(inputs)  # [B, S, b]
        query, key, value = self._attention_inputs(inputs, layer_input)
        if read_positions is not None:
            query, layer_input, inputs = (
                tf.gather(each, read_positions, batch_dims=1)
                for each in (query, layer_input, inputs)
            )
        context, scores = self.attention(
            query, key, value, attention_mask=attention_mask, training=training
        )
        outputs = self.attention_output(
            context, residual=layer_input, training=training
        )
        for network in self.feed_forward_networks:
            outputs = network(outputs, training=training)
        if self.config.use_bottleneck:
            outputs = self.output_bottleneck(
                outputs, residual=inputs, training=training
            )
        return outputs, scores

    @property
    def _has_key_query_bottleneck(self):
        return (
            self.config.key_query_shared_bottleneck
            and not self.config.use_bottleneck_attention
        )

    def _attention_inputs(self, inputs, layer_input):
        if self.config.use_bottleneck_attention:
            return layer_input, layer_input, layer_input
        if self.config.key_query_shared_bottleneck:
            shared = self.key_query_bottleneck(inputs)
            return shared, shared, inputs
        return inputs, inputs, inputs
