"""Models that a question-answering run starts from, or answers with."""

import os
from typing import NamedTuple

import tf_keras

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import wordpiece
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.checkpoints import weight as weight_lib
from mobilebert_tf.experiments import question_answering_config
from mobilebert_tf.fine_tuning import model_selection
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models
from mobilebert_tf.tasks import networks

_HEAD = model_directory.QUESTION_ANSWERING
# These say themselves what network they hold.
_DESCRIBED_FORMATS = (weight_lib.NATIVE, weight_lib.HUGGINGFACE)


class Start(NamedTuple):
    """What a run starts from.

    Attributes:
        network: MobileBertConfig, with the run's dropout.
        vocab_file: str.
        lower_case: bool. Whether the vocabulary is uncased.
        encoder: pre-trained, or None for random weights.
        span_head: fine-tuned before, or None for random weights.
    """

    network: config_lib.MobileBertConfig
    vocab_file: str
    lower_case: bool
    encoder: tf_keras.Model | None
    span_head: tf_keras.layers.Layer | None


class Trained(NamedTuple):
    """A fine-tuned model.

    Attributes:
        model: without dropout.
        network: MobileBertConfig.
        vocab_file: str.
        lower_case: bool. Whether the vocabulary is uncased.
        folder: of the evaluation that is kept with the model, "" for none.
    """

    model: models.MobileBertForQuestionAnswering
    network: config_lib.MobileBertConfig
    vocab_file: str
    lower_case: bool
    folder: str


def start(
    config: question_answering_config.QuestionAnsweringTaskConfig,
) -> Start:
    """Reads init_checkpoint, or makes a network to start at random.

    A checkpoint that was fine-tuned on question answering brings its head.

    Raises:
        ValueError: if a file is missing or wrong, or `config.model` and the
            checkpoint do not agree on network or vocabulary.
    """
    if not config.init_checkpoint:
        return Start(
            networks.build(config.model),
            config.model.vocab_file,
            config.model.lower_case,
            None,
            None,
        )
    model, checkpoint, vocab_file = _read(config.init_checkpoint, config.model)
    return Start(
        networks.with_dropout(checkpoint.config, config.model),
        vocab_file,
        checkpoint.lower_case,
        model.encoder,
        None if checkpoint.accounting.initialised else model.span,
    )


def load_trained(
    config: question_answering_config.QuestionAnsweringTaskConfig,
    model_dir: str,
) -> Trained:
    """Loads the best model of a run, else its newest.

    Where `model_dir` holds no model it is init_checkpoint, as in the official
    run_squad.py.

    Raises:
        ValueError: if there is none, or it is of another kind.
    """
    if not is_model(model_dir) and config.init_checkpoint:
        model, checkpoint, vocab_file = _read(
            config.init_checkpoint, config.model
        )
        if checkpoint.accounting.initialised:
            raise ValueError(
                f"--init_checkpoint={config.init_checkpoint}: expected a model "
                f"fine-tuned on question answering, got no "
                f"{checkpoint.accounting.initialised[0]}"
            )
        return Trained(
            model, checkpoint.config, vocab_file, checkpoint.lower_case, ""
        )
    check_kind(model_dir)
    folder = model_selection.best_or_newest(model_dir)
    trained = model_directory.load(folder)
    return Trained(
        trained.model,
        trained.config,
        os.path.join(folder, model_directory.VOCAB_FILE),
        trained.info.lower_case,
        folder,
    )


def is_model(model_dir: str) -> bool:
    """Returns whether `model_dir` is the folder of a model of any kind."""
    return os.path.isfile(os.path.join(model_dir, model_directory.INFO_FILE))


def check_kind(model_dir: str) -> None:
    """Raises ValueError unless `model_dir` answers questions."""
    files.require_directory(model_dir, "model_dir")
    info = model_directory.read_info(model_dir)
    if info.head != _HEAD:
        raise ValueError(
            f"{model_dir}: expected a model fine-tuned on question answering, "
            f"got head {info.head}"
        )


def _read(path, given):
    """Returns the Keras model, the checkpoint and the vocabulary's file."""
    options = {"head": _HEAD}
    try:
        source_format = conversion.find_format(path)
        if source_format not in _DESCRIBED_FORMATS:
            options["config_file"] = given.bert_config_file or None
            options["vocab_file"] = given.vocab_file or None
            options["lower_case"] = given.lower_case
        checkpoint = conversion.read(path, source_format, **options)
    except ValueError as error:
        # The readers speak of the flags of convert_checkpoint.
        message = str(error).replace("--input=", "--init_checkpoint=")
        raise ValueError(
            message.replace("--config_file", "--bert_config_file")
        ) from error
    if given.bert_config_file:
        _check_stated(given.bert_config_file, checkpoint.config, path)
    vocab_file = _vocab_file(given.vocab_file, checkpoint.vocabulary, path)
    model = models.MobileBertForQuestionAnswering(
        model_directory.without_dropout(checkpoint.config)
    )
    model.build_weights()
    conversion.assign(model, checkpoint)
    size = len(wordpiece.load_vocabulary(vocab_file))
    model_directory.check_vocabulary(size, checkpoint.config, vocab_file)
    return model, checkpoint, vocab_file


def _check_stated(config_file, network, path):
    stated = config_lib.MobileBertConfig.from_json_file(config_file)
    for field, value in stated.to_dict().items():
        if getattr(network, field) != value and "dropout" not in field:
            raise ValueError(
                f"--bert_config_file={config_file}: {field} is {value}, but "
                f"{getattr(network, field)} in --init_checkpoint={path}"
            )


def _vocab_file(given, carried, path):
    """Returns the file given, which must agree, or the one beside `path`."""
    if given:
        files.require_file(given, "vocab_file")
        if carried is not None and not wordpiece.same_vocabulary(
            files.read_bytes(given), carried
        ):
            raise ValueError(
                f"--vocab_file={given} differs from the vocabulary of "
                f"--init_checkpoint={path}"
            )
        return given
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    beside = os.path.join(folder, model_directory.VOCAB_FILE)
    if not os.path.isfile(beside) or (
        carried is not None
        and not wordpiece.same_vocabulary(files.read_bytes(beside), carried)
    ):
        raise ValueError(
            f"--vocab_file is required: --init_checkpoint={path} has not its "
            f"{model_directory.VOCAB_FILE} beside it"
        )
    return beside
