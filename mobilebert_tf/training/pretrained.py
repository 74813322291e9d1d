"""Pre-trained models from any format: a run's teacher, and its start."""

import os

from absl import logging

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf import wordpiece
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import conversion
from mobilebert_tf.checkpoints import tensorflow_files
from mobilebert_tf.checkpoints import tf1
from mobilebert_tf.checkpoints import weight as weight_lib
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models

TEACHER_SCOPE = "teacher"

# These say themselves what network they hold.
_DESCRIBED_FORMATS = (weight_lib.NATIVE, weight_lib.HUGGINGFACE)
# A pre-training run can do without; the masked-LM head is what it is about.
_MAY_BE_DRAWN = ("cls/seq_relationship/", "bert/pooler/")


def read_teacher(
    task: pretraining_config.PretrainingTaskConfig,
) -> checkpoint_lib.Checkpoint | None:
    """Reads the teacher of a run, None without one.

    Of a checkpoint of the official distillation, which holds the student too,
    the teacher is read.

    Raises:
        ValueError: see `read`.
    """
    if not task.teacher_dir:
        return None
    return read(
        task.teacher_dir,
        "teacher_dir",
        task.teacher_config_file,
        "bert_teacher_config_file",
        lower_case=task.model.lower_case,
        scope=TEACHER_SCOPE if holds_teacher(task.teacher_dir) else "",
    )


def read_initial(
    task: pretraining_config.PretrainingTaskConfig,
) -> checkpoint_lib.Checkpoint | None:
    """Reads the weights that a run starts from, None without any.

    Where init_checkpoint is the teacher's, as in the official script, there
    are none unless it holds the student too.

    Raises:
        ValueError: see `read`.
    """
    path = task.init_checkpoint
    if not path or (path == task.teacher_dir and not holds_teacher(path)):
        return None
    return read(
        path,
        "init_checkpoint",
        task.model.bert_config_file,
        "bert_config_file",
        lower_case=task.model.lower_case,
    )


def check_initial(
    checkpoint: checkpoint_lib.Checkpoint,
    network: config_lib.MobileBertConfig,
    path: str,
) -> None:
    """Raises ValueError if `checkpoint` is not of the run's `network`."""
    difference = _difference(checkpoint.config, network)
    if difference:
        field, found, expected = difference
        raise ValueError(
            f"--init_checkpoint={path} holds another network: {field} is "
            f"{found}, this run has {expected}"
        )


def read(
    path: str,
    flag: str,
    config_file: str = "",
    config_flag: str = "config_file",
    lower_case: bool = True,
    scope: str = "",
) -> checkpoint_lib.Checkpoint:
    """Reads a pre-trained model in any format of mobilebert_tf.checkpoints.

    A next-sentence head that the checkpoint lacks is drawn at random, and
    that is logged.

    Args:
        path: a folder of ours, a TF1 checkpoint (archive, folder or prefix),
            a Hugging Face folder, or a checkpoint of the Model Garden.
        flag: name of the flag that `path` comes from, for messages.
        config_file: bert_config.json, where it is not beside the checkpoint.
            What says itself which network it holds (a folder of ours, Hugging
            Face's) must agree with it, dropout rates apart.
        config_flag: name of the flag that `config_file` comes from.
        lower_case: whether the vocabulary is uncased, for formats that do not
            record it.
        scope: prefix of the names, see checkpoints.source.Options.

    Returns:
        The checkpoint with the head "pretraining", without dropout.

    Raises:
        ValueError: if a file is absent or damaged, the files do not fit
            together, or there is no masked-LM head.
    """
    options = {"head": model_directory.PRETRAINING, "scope": scope}
    try:
        source_format = conversion.find_format(path)
        if source_format not in _DESCRIBED_FORMATS:
            options["config_file"] = config_file or None
            options["lower_case"] = lower_case
        checkpoint = conversion.read(path, source_format, **options)
    except ValueError as error:
        # The readers speak of the flags of convert_checkpoint.
        message = str(error).replace("--input=", f"--{flag}=")
        raise ValueError(
            message.replace("--config_file", f"--{config_flag}")
        ) from error
    if config_file and source_format in _DESCRIBED_FORMATS:
        _check_stated(checkpoint.config, config_file, config_flag, path, flag)
    _check_drawn(checkpoint.accounting.initialised, path, flag)
    logging.info(
        "--%s=%s: %s, %d weights",
        flag,
        path,
        source_format,
        len(checkpoint.accounting.loaded),
    )
    return checkpoint


def holds_teacher(path: str) -> bool:
    """Returns whether `path` is a checkpoint of the official distillation.

    It has the teacher's variables under "teacher/", beside the student's.
    Archives are not looked into.
    """
    if tf1.is_archive(path):
        return False
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    if os.path.isfile(os.path.join(folder, model_directory.INFO_FILE)):
        return False
    try:
        reader = tensorflow_files.Reader(tensorflow_files.find_prefix(path))
    except ValueError:
        return False  # Another format, or nothing at all: `read` tells.
    return any(name.startswith(f"{TEACHER_SCOPE}/") for name in reader.shapes)


def build_model(
    checkpoint: checkpoint_lib.Checkpoint,
) -> models.MobileBertForPreTraining:
    """Returns the Keras model of `checkpoint`, without dropout."""
    model = models.MobileBertForPreTraining(
        model_directory.without_dropout(checkpoint.config)
    )
    model.build_weights()
    conversion.assign(model, checkpoint)
    return model


def follow_vocabulary(
    task: pretraining_config.PretrainingTaskConfig,
    teacher: checkpoint_lib.Checkpoint | None,
    initial: checkpoint_lib.Checkpoint | None,
    model_dir: str,
) -> None:
    """Makes a run read what its teacher and start read: vocabulary and case.

    A vocabulary that is not given is taken from them, or from vocab.txt
    beside one of the configuration files.

    Args:
        task: model.vocab_file and model.lower_case are set.
        teacher: of read_teacher.
        initial: of read_initial.
        model_dir: of the run. A vocabulary that is no file of its own (in an
            archive, in a tokenizer.json) is written there.

    Raises:
        ValueError: if the vocabulary is unknown, or differs from the run's.
    """
    model = task.model
    if model.vocab_file:
        files.require_file(model.vocab_file, "vocab_file")
    carried = [
        (checkpoint, f"--{flag}={path}")
        for checkpoint, path, flag in (
            (initial, task.init_checkpoint, "init_checkpoint"),
            (teacher, task.teacher_dir, "teacher_dir"),
        )
        if checkpoint is not None
    ]
    for checkpoint, source in carried:
        model.lower_case = checkpoint.lower_case
        if checkpoint.vocabulary is None:
            continue
        if not model.vocab_file:
            model.vocab_file = _as_file(
                checkpoint.vocabulary, source, model_dir
            )
        elif not wordpiece.same_vocabulary(
            files.read_bytes(model.vocab_file), checkpoint.vocabulary
        ):
            raise ValueError(
                f"--vocab_file={model.vocab_file} differs from the vocabulary "
                f"of {source}"
            )
    for config_file in (model.bert_config_file, task.teacher_config_file):
        beside = os.path.join(
            os.path.dirname(config_file), model_directory.VOCAB_FILE
        )
        if config_file and not model.vocab_file and os.path.isfile(beside):
            logging.info("vocabulary: %s", beside)
            model.vocab_file = beside
    if carried and not model.vocab_file:
        raise ValueError(
            f"{carried[-1][1]} carries no vocabulary, and there is no "
            f"{model_directory.VOCAB_FILE} beside the configuration: "
            "--vocab_file is required"
        )


def _as_file(vocabulary, source, model_dir):
    """Returns a file with the content `vocabulary`."""
    path = source.partition("=")[2]
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    beside = os.path.join(folder, model_directory.VOCAB_FILE)
    if os.path.isfile(beside) and files.read_bytes(beside) == vocabulary:
        return beside
    own = os.path.join(model_dir, model_directory.VOCAB_FILE)
    if not os.path.isfile(own):
        files.write_bytes(own, vocabulary)
    elif not wordpiece.same_vocabulary(files.read_bytes(own), vocabulary):
        raise ValueError(
            f"{own} differs from the vocabulary of {path}; choose another "
            "--model_dir"
        )
    return own


def _check_stated(network, config_file, config_flag, path, flag):
    files.require_file(config_file, config_flag)
    stated = config_lib.MobileBertConfig.from_json_file(config_file)
    difference = _difference(stated, network)
    if difference:
        field, ours, theirs = difference
        raise ValueError(
            f"--{config_flag}={config_file}: {field} is {ours}, but {theirs} "
            f"in --{flag}={path}"
        )


def _difference(network, other):
    """Returns the first field that differs, and both values; or None."""
    for field, value in network.to_dict().items():
        if getattr(other, field) != value and "dropout" not in field:
            return field, value, getattr(other, field)
    return None


def _check_drawn(drawn, path, flag):
    needed = [name for name in drawn if not name.startswith(_MAY_BE_DRAWN)]
    if needed:
        raise ValueError(
            f"--{flag}={path}: expected a pre-trained model, got no {needed[0]}"
        )
    if drawn:
        logging.warning(
            "--%s=%s has no %s: drawn at random",
            flag,
            path,
            " and no ".join(sorted({name.rsplit("/", 1)[0] for name in drawn})),
        )
