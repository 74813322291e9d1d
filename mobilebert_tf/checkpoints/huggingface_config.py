"""Hugging Face's config.json of MobileBERT, to and from ours.

Absent keys have other defaults there than in bert_config.json: those of its
`MobileBertConfig` class, which are MobileBERT's own except that
classifier_activation is true.
"""

import dataclasses
import json
import os
from collections.abc import Sequence

from mobilebert_tf import files
from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import beside
from mobilebert_tf.checkpoints import names
from mobilebert_tf.modeling import config as config_lib

CONFIG_FILE = "config.json"
_MODEL_TYPE = "mobilebert"
_DEFAULTS = config_lib.mobilebert(classifier_activation=True)

# Its "gelu" is the exact form.
_ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "gelu": "gelu_erf",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
}
_HUGGINGFACE_ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "gelu_erf": "gelu",
    "gelu": "gelu_new",
}
# Fields that Hugging Face does not know.
_OWN_FIELDS = ("attention_mask_type", "pad_invariant")

ARCHITECTURES = {
    model_directory.ENCODER: "MobileBertModel",
    model_directory.PRETRAINING: "MobileBertForPreTraining",
    model_directory.MASKED_LM: "MobileBertForMaskedLM",
    model_directory.NEXT_SENTENCE: "MobileBertForNextSentencePrediction",
    model_directory.SEQUENCE_CLASSIFICATION: (
        "MobileBertForSequenceClassification"
    ),
    model_directory.MULTIPLE_CHOICE: "MobileBertForMultipleChoice",
    model_directory.TOKEN_CLASSIFICATION: "MobileBertForTokenClassification",
    model_directory.QUESTION_ANSWERING: "MobileBertForQuestionAnswering",
}


@dataclasses.dataclass(frozen=True)
class HuggingFaceConfig:
    """What is read from config.json.

    Attributes:
        config: the network.
        head: one of model_directory.HEADS, None if `architecture` is none of
            theirs.
        architecture: name of Hugging Face's class, "" if there is none.
        labels: in the order of the logits.
    """

    config: config_lib.MobileBertConfig
    head: str | None
    architecture: str
    labels: tuple[str, ...]


def read(path: str) -> HuggingFaceConfig:
    """Reads config.json.

    Raises:
        ValueError: if it is no JSON object, no config of Hugging Face, of
            another kind of model, or a value is not what MobileBERT can have.
    """
    fields = beside.read_json(path)
    # transformers reads a config.json without it too.
    model_type = fields.get("model_type")
    if model_type is None and os.path.basename(path) != CONFIG_FILE:
        # Most keys of a bert_config.json are the same, "gelu" is another.
        raise ValueError(
            f"{path}: no model_type: expected Hugging Face's {CONFIG_FILE}, "
            "not a bert_config.json"
        )
    if model_type not in (None, _MODEL_TYPE):
        raise ValueError(
            f"{path}: model_type: expected {_MODEL_TYPE!r}, got {model_type!r}"
        )
    architecture = _architecture(fields, path)
    heads = {name: head for head, name in ARCHITECTURES.items()}
    return HuggingFaceConfig(
        config=_network(fields, path),
        # The same tensors were saved by its TensorFlow classes.
        head=heads.get(architecture.removeprefix("TF")),
        architecture=architecture,
        labels=_labels(fields.get("id2label") or {}, path),
    )


def write(
    config: config_lib.MobileBertConfig,
    head: str,
    labels: Sequence[str],
    pad_token_id: int,
    folder: str,
) -> None:
    """Writes config.json.

    Raises:
        ValueError: if Hugging Face's classes cannot build the network.
    """
    check_config(config)
    fields = config.to_dict()
    for name in _OWN_FIELDS:
        if fields[name] == getattr(_DEFAULTS, name):
            del fields[name]
    fields["hidden_act"] = _HUGGINGFACE_ACTIVATIONS[config.hidden_act]
    # With both set it would make a shared bottleneck that nothing reads.
    fields["key_query_shared_bottleneck"] = names.has_key_query_bottleneck(
        config
    )
    fields |= {
        "architectures": [ARCHITECTURES[head]],
        "dtype": "float32",
        "layer_norm_eps": 1e-12,
        "model_type": _MODEL_TYPE,
        "pad_token_id": pad_token_id,
        "tie_word_embeddings": True,
    }
    if labels:
        fields["id2label"] = dict(enumerate(labels))
        fields["label2id"] = {label: i for i, label in enumerate(labels)}
    files.write_text(
        os.path.join(folder, CONFIG_FILE), json.dumps(fields, indent=2) + "\n"
    )


def check_config(config: config_lib.MobileBertConfig) -> None:
    """Raises ValueError if Hugging Face's classes cannot build `config`.

    They always build query and key on the width inside a block.
    """
    if (
        config.use_bottleneck
        and not config.use_bottleneck_attention
        and not config.key_query_shared_bottleneck
        and config.intra_bottleneck_size != config.hidden_size
    ):
        raise ValueError(
            "Hugging Face's MobileBERT has no network whose query and key "
            f"read the block input (hidden_size={config.hidden_size}, "
            f"intra_bottleneck_size={config.intra_bottleneck_size}), such as "
            "the teacher"
        )


def _architecture(fields, path):
    """Returns the first of `architectures`, a list or a single name."""
    architectures = fields.get("architectures") or [""]
    if isinstance(architectures, str):
        return architectures
    if isinstance(architectures, list) and isinstance(architectures[0], str):
        return architectures[0]
    raise ValueError(
        f"{path}: architectures: expected names, got {architectures!r}"
    )


def _network(fields, path):
    known = [
        field.name for field in dataclasses.fields(config_lib.MobileBertConfig)
    ]
    network = {name: getattr(_DEFAULTS, name) for name in known}
    network |= {name: fields[name] for name in known if name in fields}
    activation = network["hidden_act"]
    if activation not in tuple(_ACTIVATIONS):  # may be of any type
        raise ValueError(
            f"{path}: hidden_act: expected one of {', '.join(_ACTIVATIONS)}, "
            f"got {activation!r}"
        )
    if "hidden_act" in fields:
        network["hidden_act"] = _ACTIVATIONS[activation]
    if not network["use_bottleneck"]:
        # There they say nothing, and are on by default.
        network["key_query_shared_bottleneck"] = False
        network["use_bottleneck_attention"] = False
    return config_lib.MobileBertConfig.from_dict(network, source=path)


def _labels(id2label, path):
    try:
        names_by_id = {int(key): str(name) for key, name in id2label.items()}
    except (AttributeError, ValueError) as error:
        raise ValueError(f"{path}: id2label: {error}") from error
    if sorted(names_by_id) != list(range(len(names_by_id))):
        raise ValueError(
            f"{path}: id2label: expected keys 0 to {len(names_by_id) - 1}, "
            f"got {sorted(names_by_id)}"
        )
    return tuple(names_by_id[i] for i in range(len(names_by_id)))
