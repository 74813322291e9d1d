"""What a trained model's folder holds, and how to read it back.

    model_dir/
      bert_config.json   the network (MobileBertConfig)
      vocab.txt          the vocabulary it was trained with
      model_info.json    head, labels, task, sequence length (ModelInfo)
      params.yaml        the merged experiment, as run
      ckpt-N.*           checkpoints of {model, optimizer state, global_step}

Training writes the first three before its first step, so that every
checkpoint can be evaluated and exported without the command that made it.
"""

import dataclasses
import glob
import json
import os

import tensorflow as tf

from mobilebert_tf import files
from mobilebert_tf import tokenization
from mobilebert_tf import wordpiece
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import configured
from mobilebert_tf.modeling import heads
from mobilebert_tf.modeling import models

CONFIG_FILE = "bert_config.json"
VOCAB_FILE = "vocab.txt"
INFO_FILE = "model_info.json"
# Attribute of a model, and so part of its checkpoints, with the ranges of a
# quantisation-aware training.
INT8_RANGES = "int8_ranges"

ENCODER = "encoder"
PRETRAINING = "pretraining"
MASKED_LM = "masked_lm"
NEXT_SENTENCE = "next_sentence"
SEQUENCE_CLASSIFICATION = "sequence_classification"
MULTIPLE_CHOICE = "multiple_choice"
TOKEN_CLASSIFICATION = "token_classification"
QUESTION_ANSWERING = "question_answering"
SENTENCE_EMBEDDING = "sentence_embedding"
_MODELS = {
    ENCODER: models.MobileBertModel,
    PRETRAINING: models.MobileBertForPreTraining,
    MASKED_LM: models.MobileBertForMaskedLM,
    NEXT_SENTENCE: models.MobileBertForNextSentencePrediction,
    SEQUENCE_CLASSIFICATION: models.MobileBertForSequenceClassification,
    MULTIPLE_CHOICE: models.MobileBertForMultipleChoice,
    TOKEN_CLASSIFICATION: models.MobileBertForTokenClassification,
    QUESTION_ANSWERING: models.MobileBertForQuestionAnswering,
    SENTENCE_EMBEDDING: models.MobileBertForSentenceEmbedding,
}
HEADS = tuple(_MODELS)
# Heads with one output per label.
LABELLED_HEADS = (SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION)


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """How the model is used.

    Attributes:
        head: one of HEADS.
        max_seq_length: int. Length the model was trained with.
        lower_case: bool. Whether the tokenizer lower-cases.
        task_name: str. GLUE task, "" for pre-training.
        labels: list of str. Label names in the order of the logits, for
            LABELLED_HEADS only.
        data_dir: str. Folder of the task's files, "" for pre-training.
        pooling: str. Of the sentence-embedding head: "mean" or "cls".

    Raises:
        ValueError: for an unknown head, or labels that do not go with it.
    """

    head: str
    max_seq_length: int
    lower_case: bool = True
    task_name: str = ""
    labels: tuple[str, ...] = ()
    data_dir: str = ""
    pooling: str = heads.MEAN_POOLING

    def __post_init__(self):
        if self.head not in HEADS:
            raise ValueError(
                f"head: expected one of {', '.join(HEADS)}, got {self.head!r}"
            )
        if bool(self.labels) != (self.head in LABELLED_HEADS):
            expected = "labels" if self.head in LABELLED_HEADS else "no labels"
            raise ValueError(
                f"labels: the head {self.head} has {expected}, got "
                f"{list(self.labels)}"
            )


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model read back from its folder, with restored weights."""

    model: configured.ConfiguredModel
    config: config_lib.MobileBertConfig
    info: ModelInfo
    tokenizer: tokenization.WordPieceTokenizer
    checkpoint: str


def write(
    model_dir: str,
    config: config_lib.MobileBertConfig,
    info: ModelInfo,
    vocab_file: str,
) -> None:
    """Writes config, info and vocabulary to `model_dir`.

    Raises:
        ValueError: if the folder already holds another model: going on with
            its checkpoints would fail, or make a mixture of both.
    """
    os.makedirs(model_dir, exist_ok=True)
    if os.path.exists(os.path.join(model_dir, CONFIG_FILE)):
        _check_same(model_dir, read_config(model_dir), config)
        _check_same(model_dir, read_info(model_dir), info, but=("data_dir",))
        present = os.path.join(model_dir, VOCAB_FILE)
        contents = map(files.read_bytes, (present, vocab_file))
        if not wordpiece.same_vocabulary(*contents):
            raise ValueError(
                f"{present} and {vocab_file} differ; choose another --model_dir"
            )
    files.write_text(
        os.path.join(model_dir, INFO_FILE),
        json.dumps(dataclasses.asdict(info), indent=2) + "\n",
    )
    files.copy(vocab_file, os.path.join(model_dir, VOCAB_FILE))
    # Last: where it is, the others are.
    config.to_json_file(os.path.join(model_dir, CONFIG_FILE))


def _check_same(model_dir, present, wanted, but=()):
    for field in dataclasses.fields(wanted):
        old = getattr(present, field.name)
        new = getattr(wanted, field.name)
        if old != new and field.name not in but:
            raise ValueError(
                f"{model_dir} holds another model: {field.name} is {old}, "
                f"this run has {new}; choose another --model_dir"
            )


def read_config(model_dir: str) -> config_lib.MobileBertConfig:
    """Reads the network's config.

    Raises:
        ValueError: if `model_dir` is no folder of a trained model.
    """
    files.require_directory(model_dir, "model_dir")
    path = os.path.join(model_dir, CONFIG_FILE)
    if not os.path.isfile(path):
        raise ValueError(f"{model_dir}: not a model folder, no {CONFIG_FILE}")
    return config_lib.MobileBertConfig.from_json_file(path)


def read_info(model_dir: str) -> ModelInfo:
    """Reads how the model is used.

    Raises:
        ValueError: if model_info.json is absent or malformed.
    """
    path = os.path.join(model_dir, INFO_FILE)
    if not os.path.isfile(path):
        raise ValueError(f"{model_dir}: not a model folder, no {INFO_FILE}")
    with open(path, encoding="utf-8") as stream:
        try:
            fields = json.load(stream)
            fields["labels"] = tuple(fields["labels"])
            return ModelInfo(**fields)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}: {error}") from error


def find_checkpoint(model_dir: str) -> str | None:
    """Returns the prefix of the newest checkpoint, None in a fresh folder.

    Raises:
        ValueError: if there are checkpoint files but the newest one cannot be
            told or is not whole: starting over would overwrite them.
    """
    checkpoint = tf.train.latest_checkpoint(model_dir)
    if checkpoint is None:
        present = glob.glob(os.path.join(glob.escape(model_dir), "ckpt-*"))
        if present:
            raise ValueError(
                f"{model_dir}: {os.path.basename(min(present))} is there, but "
                "the file `checkpoint` is missing or names another one; "
                "restore it, or choose another --model_dir"
            )
    return checkpoint


def latest_checkpoint(model_dir: str) -> str:
    """Returns the prefix of the newest checkpoint.

    Raises:
        ValueError: if there is none.
    """
    checkpoint = find_checkpoint(model_dir)
    if checkpoint is None:
        raise ValueError(f"{model_dir}: no checkpoint (ckpt-N.index) found")
    return checkpoint


def load(model_dir: str) -> TrainedModel:
    """Builds the model of `model_dir` and restores its newest checkpoint.

    The model is for inference, or for its weights to be copied: it has no
    dropout, whose random state a checkpoint may lack.

    Raises:
        ValueError: if a file is absent or malformed, if the vocabulary and the
            word table differ in size, or if the checkpoint does not fit.
    """
    config = read_config(model_dir)
    info = read_info(model_dir)
    tokenizer = load_tokenizer(model_dir, config, info)
    model = make_model(without_dropout(config), info)
    model.build_weights()
    checkpoint = latest_checkpoint(model_dir)
    restore(model, checkpoint)
    return TrainedModel(model, config, info, tokenizer, checkpoint)


def without_dropout(
    config: config_lib.MobileBertConfig,
) -> config_lib.MobileBertConfig:
    """Returns the network for inference.

    Dropout has a random state, which converted checkpoints lack.
    """
    return dataclasses.replace(
        config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )


def make_model(
    config: config_lib.MobileBertConfig, info: ModelInfo
) -> configured.ConfiguredModel:
    """Returns a fresh model with the head that `info` names.

    Its head has no dropout; the config's rates hold for the encoder.
    """
    head = {}
    if info.head in LABELLED_HEADS:
        head = {"num_labels": len(info.labels), "dropout_rate": 0.0}
    elif info.head == MULTIPLE_CHOICE:
        head = {"dropout_rate": 0.0}
    elif info.head == SENTENCE_EMBEDDING:
        head = {"pooling": info.pooling}
    return _MODELS[info.head](config, **head)


def load_tokenizer(
    model_dir: str, config: config_lib.MobileBertConfig, info: ModelInfo
) -> tokenization.WordPieceTokenizer:
    """Returns the tokenizer of `model_dir`, checked against the word table."""
    vocab_file = os.path.join(model_dir, VOCAB_FILE)
    tokenizer = tokenization.WordPieceTokenizer(
        vocab_file, lower_case=info.lower_case
    )
    check_vocabulary(tokenizer.vocab_size, config, vocab_file)
    return tokenizer


def check_vocabulary(
    vocab_size: int, config: config_lib.MobileBertConfig, vocab_file: str
) -> None:
    """Raises ValueError if vocabulary and word table differ in size."""
    if vocab_size != config.vocab_size:
        raise ValueError(
            f"{vocab_file} has {vocab_size} entries but the model's "
            f"vocab_size is {config.vocab_size}"
        )


def restore(model, checkpoint: str) -> None:
    """Restores the `model` item of `checkpoint`, all of it.

    Raises:
        ValueError: if the checkpoint is damaged, or if a variable of the model
            is missing or has another shape.
    """
    reader = tf.train.Checkpoint(model=model)
    try:
        status = reader.restore(checkpoint)
        status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{checkpoint}: does not fit the model: {reason}"
        ) from error
    except (IndexError, tf.errors.OpError) as error:
        # TensorFlow's message says what is wrong, but not with which file; a
        # file that ends too early is an IndexError.
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{checkpoint}: not a whole checkpoint: {reason}"
        ) from error
