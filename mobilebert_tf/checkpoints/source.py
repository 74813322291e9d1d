"""From a checkpoint's variables to a Checkpoint, each of them accounted for.

The readers of the formats say what is in a file (Source); which of it the
network needs, what is missing and what is left over is decided here, once.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence

import numpy as np

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import names
from mobilebert_tf.checkpoints import weight as weight_lib
from mobilebert_tf.modeling import config as config_lib

_SEED = 0
_DEFAULT_NUM_LABELS = 2
_OTHER_HEAD = "not part of the head {}"
_UNKNOWN = "unknown"
_FLOAT32 = "float32"
_FLOATS = ("float16", "bfloat16", _FLOAT32, "float64")


@dataclasses.dataclass(frozen=True)
class Options:
    """What the user says about a checkpoint beyond its path.

    Attributes:
        config_file: bert_config.json or config.json, instead of the one
            beside the checkpoint.
        vocab_file: vocab.txt, instead of the one beside the checkpoint.
        head: one of model_directory.HEADS, None for the checkpoint's own.
        labels: label names, for model_directory.LABELLED_HEADS.
        scope: prefix of the weights' names, such as "teacher".
        lower_case: None takes what the checkpoint says, or True.
        max_seq_length: tokens per example; 0 takes what the checkpoint says,
            or as many as there are positions.
    """

    config_file: str | None = None
    vocab_file: str | None = None
    head: str | None = None
    labels: tuple[str, ...] = ()
    scope: str = ""
    lower_case: bool | None = None
    max_seq_length: int = 0


@dataclasses.dataclass(frozen=True)
class Source:
    """The variables of a checkpoint, and what is known about it.

    Attributes:
        path: for messages.
        format: one of weight.FORMATS.
        config: the network.
        info: the checkpoint's own head and use.
        shapes: dict from the name of each variable to its shape.
        locate: the name under which the source may hold a Place.key.
        read: from the name of a variable to its value.
        is_backbone: whether a name is of the encoder, which the config must
            then explain.
        kind: the kind of a variable that is no weight, None if unknown.
        vocabulary: content of vocab.txt, None if unknown.
        notes: see Accounting.
    """

    path: str
    format: str
    config: config_lib.MobileBertConfig
    info: model_directory.ModelInfo
    shapes: dict[str, tuple[int, ...]]
    locate: Callable[[str], str]
    read: Callable[[str], np.ndarray]
    is_backbone: Callable[[str], bool]
    kind: Callable[[str], str | None]
    vocabulary: bytes | None = None
    notes: tuple[str, ...] = ()


def make_info(
    config: config_lib.MobileBertConfig,
    head: str,
    num_labels: int = 0,
    labels: Sequence[str] = (),
    lower_case: bool = True,
    max_seq_length: int = 0,
) -> model_directory.ModelInfo:
    """Returns the info of a checkpoint whose format records little.

    Labels without names are called as Hugging Face does; without a length,
    examples are as long as there are positions.
    """
    if head not in model_directory.LABELLED_HEADS:
        labels = ()
    elif not labels:
        labels = [f"LABEL_{i}" for i in range(num_labels)]
    return model_directory.ModelInfo(
        head=head,
        max_seq_length=min(
            max_seq_length or config.max_position_embeddings,
            config.max_position_embeddings,
        ),
        lower_case=lower_case,
        labels=tuple(labels),
    )


def assemble(source: Source, options: Options) -> checkpoint_lib.Checkpoint:
    """Reads the weights of the head that `options` asks for.

    Raises:
        ValueError: if a weight of the source's network is missing or has
            another shape, or the encoder holds weights that the config does
            not know; or if head and labels do not fit.
    """
    info = _requested_info(source, options)
    own = _located(source, source.info)
    values, used = {}, set()
    loaded, initialised = [], []
    types, not_finite = set(), []
    generator = np.random.default_rng(_SEED)
    for weight in _list_weights(source.config, info):
        if weight.name not in own:
            initialised.append(weight.name)
            values[weight.name] = _draw(weight, source.config, generator)
            continue
        name = own[weight.name]
        used.add(name)
        stored = source.read(name)
        types.add(str(stored.dtype))
        value = _to_float32(stored, name, source.path)
        if not np.isfinite(value).all():
            not_finite.append(name)
        values[weight.name] = weight.places[source.format].decode(
            value, weight.shape
        )
        loaded.append(weight.name)
    notes = list(source.notes)
    if not_finite:
        shown = checkpoint_lib.summarise(not_finite)
        notes.append(f"NaN or infinity in {shown}")
    notes += [
        f"{name} values were converted to float32"
        for name in sorted(types - {_FLOAT32})
    ]
    accounting = checkpoint_lib.Accounting(
        loaded=tuple(loaded),
        initialised=tuple(initialised),
        ignored=_account_for_rest(source, set(own.values()), used, info.head),
        notes=tuple(notes),
    )
    return checkpoint_lib.Checkpoint(
        source.config, info, values, source.vocabulary, accounting
    )


def _to_float32(stored, name, path):
    if str(stored.dtype) not in _FLOATS:
        raise ValueError(
            f"{path}: {name} holds {stored.dtype}, expected floats: "
            f"{', '.join(_FLOATS)}"
        )
    with np.errstate(over="ignore"):
        value = stored.astype(np.float32, copy=False)
    # Only float64 can have more.
    if np.count_nonzero(np.isinf(value)) > np.count_nonzero(np.isinf(stored)):
        raise ValueError(f"{path}: {name} holds values beyond float32")
    return value


def _requested_info(source, options):
    """Returns the info of what is asked for."""
    info = source.info
    head = options.head or info.head
    if options.labels and head not in model_directory.LABELLED_HEADS:
        raise ValueError(f"--labels: the head {head} has no labels")
    labels = info.labels
    if head != info.head:
        labels = ()
        if head in model_directory.LABELLED_HEADS:
            count = len(options.labels) or _DEFAULT_NUM_LABELS
            labels = tuple(f"LABEL_{i}" for i in range(count))
    if options.labels:
        if len(options.labels) != len(labels):
            raise ValueError(
                f"--labels: got {len(options.labels)} names, the head in "
                f"{source.path} has {len(labels)} outputs"
            )
        labels = options.labels
    if len(set(labels)) < len(labels):
        raise ValueError(
            f"--labels: expected different names, got some twice: "
            f"{', '.join(labels)}"
        )
    lower_case = options.lower_case
    if lower_case is None:
        lower_case = info.lower_case
    length = options.max_seq_length or info.max_seq_length
    source.config.check_sequence_length(length, "--max_seq_length")
    return dataclasses.replace(
        info,
        head=head,
        labels=tuple(labels),
        lower_case=lower_case,
        max_seq_length=length,
    )


def _list_weights(config, info):
    return names.list_weights(config, info.head, len(info.labels))


def _located(source, info):
    """Returns from canonical to source name; all must be there and fit.

    Only a pooler that the source's own head does not read may be missing.
    """
    located = {}
    weights = _list_weights(source.config, info)
    required = {weight.name for weight in weights}
    for weight in (*weights, *_list_poolers(source.config)):
        place = weight.places[source.format]
        name = source.locate(place.key)
        if name not in source.shapes:
            if weight.name not in required:
                continue
            raise ValueError(
                f"{source.path}: {name} is missing, expected shape "
                f"{list(place.shape)}; does the config describe this "
                f"checkpoint?{_pooler_hint(source, name)}"
            )
        shape = tuple(source.shapes[name])
        if shape != place.shape:
            raise ValueError(
                f"{source.path}: {name} has shape {list(shape)}, "
                f"expected {list(place.shape)}"
            )
        located[weight.name] = name
    return located


def _list_poolers(config):
    """Returns the weights of the pooler, if the config has one."""
    weights = names.list_weights(config, model_directory.ENCODER)
    return [w for w in weights if w.part == weight_lib.POOLER]


def _pooler_hint(source, name):
    """Returns which key of the config the pooler depends on, or ""."""
    with_pooler = dataclasses.replace(source.config, classifier_activation=True)
    keys = [w.places[source.format].key for w in _list_poolers(with_pooler)]
    if name not in map(source.locate, keys):
        return ""
    stated = str(source.config.classifier_activation).lower()
    return f" (its classifier_activation is {stated})"


def _account_for_rest(source, own, used, head):
    """Sorts the variables that were not read by kind."""
    kinds = {}
    for name in sorted(source.shapes):
        if name in used:
            continue
        kind = source.kind(name)
        if name in own:
            kind = _OTHER_HEAD.format(head)
        elif kind is None and source.is_backbone(name):
            raise ValueError(
                f"{source.path}: {name} is no weight of the network that the "
                f"config describes{_pooler_hint(source, name)}"
            )
        kinds.setdefault(kind or _UNKNOWN, []).append(name)
    return {kind: tuple(members) for kind, members in kinds.items()}


def _draw(weight: weight_lib.Weight, config, generator):
    """Returns a fresh value: normal, cut off at two standard deviations."""
    if weight.initial != "normal":
        fill = {"ones": 1.0, "zeros": 0.0}[weight.initial]
        return np.full(weight.shape, fill, np.float32)
    values = generator.standard_normal(weight.shape)
    far = np.abs(values) > 2.0
    while far.any():
        values[far] = generator.standard_normal(np.count_nonzero(far))
        far = np.abs(values) > 2.0
    return (values * config.initializer_range).astype(np.float32)
