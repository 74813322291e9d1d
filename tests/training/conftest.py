"""A tiny corpus, network and teacher, made once per session."""

import json
import pathlib
import random
import types

import pytest
import tf_keras

from mobilebert_tf import tokenization
from mobilebert_tf.data import corpus as corpus_lib
from mobilebert_tf.data import masking
from mobilebert_tf.data import pretraining_builder
from mobilebert_tf.experiments import experiment_builder
from mobilebert_tf.experiments import pretraining_config
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.training import pretraining

SEQUENCE_LENGTH = 24
SHORT_LENGTH = 16
_SIZES = dict(
    hidden_size=16,
    embedding_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=32,
)


@pytest.fixture(autouse=True)
def _float32():
    """A run sets the precision of the process; the next test has its own."""
    yield
    tf_keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="session", name="workspace")
def _workspace(tmp_path_factory):
    """Paths of vocab.txt, TFRecords and the configs of a tiny pair."""
    folder = tmp_path_factory.mktemp("workspace")
    words = [a + b for a in "bdfgklmnprst" for b in ("a", "en", "ing", "o")]
    vocab_file = folder / "vocab.txt"
    tokens = [*tokenization.SPECIAL_TOKENS, ".", *words]
    vocab_file.write_text("\n".join(tokens) + "\n")
    rng = random.Random(3)
    documents = [
        [" ".join(rng.choices(words, k=rng.randint(4, 9))) for _ in range(12)]
        for _ in range(20)
    ]
    tokenizer = tokenization.WordPieceTokenizer(str(vocab_file))
    records = str(folder / "train.tfrecord")
    short_records = str(folder / "short.tfrecord")
    for path, length in (
        (records, SEQUENCE_LENGTH),
        (short_records, SHORT_LENGTH),
    ):
        pretraining_builder.build(
            corpus_lib.tokenize(documents, tokenizer),
            tokenizer,
            pretraining_builder.BuilderOptions(
                masking=masking.MaskingOptions(
                    max_seq_length=length, max_predictions_per_seq=4
                ),
                dupe_factor=2,
            ),
            [path],
        )
    paths = types.SimpleNamespace(
        folder=folder,
        vocab_file=str(vocab_file),
        records=records,
        short_records=short_records,
        words=words,
        student=str(folder / "student.json"),
        teacher=str(folder / "teacher.json"),
    )
    config_lib.micro(
        **_SIZES,
        vocab_size=len(tokens),
        intra_bottleneck_size=8,
        intermediate_size=16,
        num_feedforward_networks=2,
    ).to_json_file(paths.student)
    config_lib.micro_teacher(
        **_SIZES,
        vocab_size=len(tokens),
        intra_bottleneck_size=24,
        intermediate_size=32,
    ).to_json_file(paths.teacher)
    return paths


@pytest.fixture(scope="session", name="teacher_dir")
def _teacher_dir(workspace):
    """A teacher trained for a few steps."""
    folder = str(workspace.folder / "teacher")
    params = pretraining_params(workspace, workspace.teacher, train_steps=6)
    pretraining.run(params, folder, train=True)
    return folder


def pretraining_params(workspace, bert_config_file, train_steps, **overrides):
    """Returns the experiment of a run on the tiny records."""
    return experiment_builder.build(
        pretraining_config.pretraining(),
        [],
        "",
        {
            "task.model.bert_config_file": bert_config_file,
            "task.model.vocab_file": workspace.vocab_file,
            "task.train_data.input_path": workspace.records,
            "task.train_data.global_batch_size": 8,
            "task.train_data.max_seq_length": SEQUENCE_LENGTH,
            "task.train_data.max_predictions_per_seq": 4,
            "task.validation_data.input_path": workspace.records,
            "task.validation_data.global_batch_size": 64,
            "task.knowledge_transfer.num_steps": 8,
            "trainer.train_steps": train_steps,
            "trainer.steps_per_loop": 2,
            "trainer.checkpoint_interval": 2,
            "trainer.validation_interval": 1000,
            "trainer.optimizer_config.warmup.linear.warmup_steps": 2,
            **overrides,
        },
    )


def read_jsonl(path):
    """Returns the objects of a JSON-lines file."""
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
