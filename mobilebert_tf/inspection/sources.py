"""What can be inspected, and how it is read."""

import dataclasses
import os
import tempfile

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import configured


@dataclasses.dataclass(frozen=True)
class Source:
    """A network, with or without weights.

    Attributes:
        name: what the user gave.
        config: MobileBertConfig.
        head: one of model_directory.HEADS.
        num_labels: logits of a classifier.
        model: with weights, or None.
        tokenizer: of its vocabulary, or None.
        accounting: what became of a checkpoint's variables, one line each.
    """

    name: str
    config: config_lib.MobileBertConfig
    head: str = model_directory.PRETRAINING
    num_labels: int = 2
    model: configured.ConfiguredModel | None = None
    tokenizer: tokenization.WordPieceTokenizer | None = None
    accounting: tuple[str, ...] = ()


def from_preset(name: str) -> Source:
    """Returns a preset, without weights, with the pre-training heads."""
    return Source(name, config_lib.preset(name))


def from_config_file(path: str) -> Source:
    """Returns a bert_config.json, without weights, as `from_preset` does."""
    return Source(path, config_lib.MobileBertConfig.from_json_file(path))


def from_model_dir(model_dir: str) -> Source:
    """Returns the newest checkpoint of a trained model's folder."""
    trained = model_directory.load(model_dir)
    return Source(
        trained.checkpoint,
        trained.config,
        trained.info.head,
        len(trained.info.labels),
        trained.model,
        trained.tokenizer,
    )


def from_checkpoint(
    path: str,
    config_file: str | None = None,
    vocab_file: str | None = None,
    lower_case: bool | None = None,
) -> Source:
    """Returns a checkpoint of any format that can be converted.

    Args:
        path: file, folder or prefix.
        config_file: None takes the one beside the checkpoint.
        vocab_file: None takes the one beside the checkpoint, if any.
        lower_case: None takes what the checkpoint says.

    Raises:
        ValueError: see conversion.read; or if vocabulary and word table
            differ in size.
    """
    try:
        checkpoint = conversion.read(
            path,
            config_file=config_file,
            vocab_file=vocab_file,
            lower_case=lower_case,
        )
    except ValueError as error:
        # The converter's flag is called otherwise.
        message = str(error).replace("--input=", "--checkpoint=")
        raise ValueError(message) from error
    return Source(
        path,
        checkpoint.config,
        checkpoint.head,
        len(checkpoint.labels),
        conversion.build_model(checkpoint),
        checkpoint.vocabulary and _make_tokenizer(checkpoint, path),
        tuple(str(checkpoint.accounting).splitlines()),
    )


def _make_tokenizer(checkpoint, path):
    with tempfile.TemporaryDirectory() as folder:
        vocab_file = os.path.join(folder, model_directory.VOCAB_FILE)
        files.write_bytes(vocab_file, checkpoint.vocabulary)
        try:
            tokenizer = tokenization.WordPieceTokenizer(
                vocab_file, lower_case=checkpoint.lower_case
            )
            model_directory.check_vocabulary(
                tokenizer.vocab_size, checkpoint.config, vocab_file
            )
        except ValueError as error:
            # The user has never seen the temporary file.
            message = str(error).replace(vocab_file, "its vocabulary")
            raise ValueError(f"{path}: {message}") from error
    return tokenizer
