"""The network of an experiment, checked against its vocabulary."""

from absl import logging

from mobilebert_tf import experiments
from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.modeling import config as config_lib


def build(params: experiments.ModelConfig) -> config_lib.MobileBertConfig:
    """Returns the network that `params` describes.

    A preset takes the vocabulary's size; a bert_config_file must agree with
    it.

    Raises:
        ValueError: for an unknown preset, a missing file or a mismatch.
    """
    vocab_size = tokenizer(params).vocab_size
    replaced = {
        name: getattr(params, name)
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob")
        if getattr(params, name) is not None
    }
    if not params.bert_config_file:
        network = config_lib.preset(
            params.preset, vocab_size=vocab_size, **replaced
        )
        logging.info(
            "preset %s with %d tokens", params.preset, network.vocab_size
        )
        return network
    network = config_lib.MobileBertConfig.from_json_file(
        params.bert_config_file
    )
    model_directory.check_vocabulary(vocab_size, network, params.vocab_file)
    return config_lib.MobileBertConfig(**{**network.to_dict(), **replaced})


def tokenizer(
    params: experiments.ModelConfig,
) -> tokenization.WordPieceTokenizer:
    """Returns the tokenizer of `params`.

    Raises:
        ValueError: if the vocabulary is absent or malformed.
    """
    files.require_file(params.vocab_file, "vocab_file")
    return tokenization.WordPieceTokenizer(
        params.vocab_file, lower_case=params.lower_case
    )
