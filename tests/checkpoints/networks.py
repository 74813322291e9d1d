"""Small networks and checkpoints with weights that hide nothing."""

import dataclasses
import os
import pathlib
import tarfile

import numpy as np
import small_networks
import tensorflow as tf

from mobilebert_tf import model_directory
from mobilebert_tf.checkpoints import checkpoint as checkpoint_lib
from mobilebert_tf.checkpoints import names
from mobilebert_tf.modeling import config as config_lib

_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "##lo")
VOCABULARY = "".join(
    f"{token}\n" for token in (*_TOKENS, *(f"w{i}" for i in range(33)))
).encode()

SIZES = small_networks.SIZES
_STUDENT = dict(SIZES, intra_bottleneck_size=12)

CONFIGS = {
    "mobilebert": config_lib.mobilebert(**_STUDENT),
    "tiny": config_lib.mobilebert_tiny(**_STUDENT),
    "both_flags": config_lib.mobilebert_tiny(
        **_STUDENT, key_query_shared_bottleneck=True
    ),
    "without_opt": config_lib.mobilebert_without_opt(**_STUDENT),
    "pooler": config_lib.mobilebert(
        **_STUDENT, classifier_activation=True, hidden_act="gelu_erf"
    ),
    "teacher": config_lib.ib_bert_large(**SIZES, intra_bottleneck_size=32),
    "no_bottleneck": config_lib.MobileBertConfig(
        **SIZES, type_vocab_size=3, num_feedforward_networks=2
    ),
    "plain_bert": config_lib.MobileBertConfig(
        **{**SIZES, "embedding_size": None}, normalization_type="no_norm"
    ),
}
# Graphs of TensorFlow 1 take their time for each variable.
SHALLOW = dataclasses.replace(CONFIGS["mobilebert"], num_hidden_layers=1)


def make_info(
    head: str, labels: int = 3, **fields
) -> model_directory.ModelInfo:
    """Returns an info with as many labels as the head takes."""
    if head not in model_directory.LABELLED_HEADS:
        labels = 0
    return model_directory.ModelInfo(
        head=head,
        max_seq_length=SIZES["max_position_embeddings"],
        lower_case=True,
        labels=tuple(f"label {i}" for i in range(labels)),
        **fields,
    )


def make_checkpoint(
    config: config_lib.MobileBertConfig,
    head: str,
    vocabulary: bytes | None = VOCABULARY,
    labels: int = 3,
    seed: int = 0,
) -> checkpoint_lib.Checkpoint:
    """Returns a checkpoint with random values, gammas and biases too.

    Kernels keep activations and attention scores of order 1.
    """
    generator = np.random.default_rng(seed)
    info = make_info(head, labels)
    values = {}
    for weight in names.list_weights(config, head, len(info.labels)):
        values[weight.name] = make_value(weight.name, weight.shape, generator)
    return checkpoint_lib.Checkpoint(config, info, values, vocabulary)


def make_value(name, shape, generator) -> np.ndarray:
    """Returns float32 values for a variable, by the end of its name."""
    end = name.split("/")[-1]
    if end == "gamma":
        values = generator.uniform(0.5, 1.5, shape)
    elif end in ("beta", "bias", "output_bias"):
        values = generator.normal(0.0, 0.3, shape)
    elif end == "kernel":
        values = generator.normal(0.0, 1.0 / np.sqrt(shape[0]), shape)
    else:
        values = generator.normal(0.0, 0.5, shape)
    return values.astype(np.float32)


def save_tf1(
    folder: pathlib.Path,
    values: dict[str, np.ndarray],
    config: config_lib.MobileBertConfig = SHALLOW,
    name: str = "mobilebert_variables.ckpt",
) -> str:
    """Writes `values` with the op that TensorFlow 1's Saver runs."""
    folder.mkdir(exist_ok=True)
    tf.raw_ops.SaveV2(
        prefix=str(folder / name),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=list(values.values()),
    )
    config.to_json_file(str(folder / "bert_config.json"))
    (folder / "vocab.txt").write_bytes(VOCABULARY)
    return str(folder)


def pack(folder: str, path: pathlib.Path, prefix: str = "uncased_L-24/") -> str:
    """Packs the files of a folder as the published archive; returns `path`."""
    with tarfile.open(path, "w:gz") as archive:
        for name in sorted(os.listdir(folder)):
            archive.add(os.path.join(folder, name), prefix + name)
    return str(path)


def assert_same_values(actual: dict, expected: dict) -> None:
    """Asserts that two dicts of float32 arrays are equal bit by bit."""
    assert sorted(actual) == sorted(expected)
    for name, value in expected.items():
        assert actual[name].dtype == np.float32, name
        assert actual[name].shape == value.shape, name
        np.testing.assert_array_equal(
            actual[name].view(np.uint32), value.view(np.uint32), err_msg=name
        )
