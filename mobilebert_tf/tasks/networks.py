"""The network of an experiment, checked against its vocabulary."""

import dataclasses

from absl import logging

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.experiments import model_config
from mobilebert_tf.modeling import config as config_lib


def build(params: model_config.ModelConfig) -> config_lib.MobileBertConfig:
    """Returns the network that `params` describes.

    A preset takes the vocabulary's size; a bert_config_file must agree with
    it.

    Raises:
        ValueError: for an unknown preset, a missing file or a mismatch.
    """
    vocab_size = tokenizer(params).vocab_size
    if not params.bert_config_file:
        network = config_lib.preset(params.preset, vocab_size=vocab_size)
        logging.info(
            "preset %s with %d tokens", params.preset, network.vocab_size
        )
        return with_dropout(network, params)
    network = config_lib.MobileBertConfig.from_json_file(
        params.bert_config_file
    )
    model_directory.check_vocabulary(vocab_size, network, params.vocab_file)
    return with_dropout(network, params)


def with_dropout(
    network: config_lib.MobileBertConfig, params: model_config.ModelConfig
) -> config_lib.MobileBertConfig:
    """Returns `network` with the dropout rates that `params` sets."""
    rates = {
        name: getattr(params, name)
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob")
        if getattr(params, name) is not None
    }
    return dataclasses.replace(network, **rates)


def tokenizer(
    params: model_config.ModelConfig,
) -> tokenization.WordPieceTokenizer:
    """Returns the tokenizer of `params`.

    Raises:
        ValueError: if the vocabulary is absent or malformed.
    """
    files.require_file(params.vocab_file, "vocab_file")
    return tokenization.WordPieceTokenizer(
        params.vocab_file, lower_case=params.lower_case
    )
