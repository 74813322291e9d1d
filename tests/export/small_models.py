"""Small models with weights that hide nothing, for the export tests."""

import os

import numpy as np
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from export import calibration
from export import inference_graph
from mobilebert_tf import model_directory
from mobilebert_tf import tokenization
from mobilebert_tf.data import glue
from mobilebert_tf.modeling import config as config_lib
from mobilebert_tf.modeling import models

SEQUENCE_LENGTH = 16
NUM_LABELS = 3
INPUT_NAMES = inference_graph.INPUT_NAMES
# Of a tensor's largest value: float32 rounding through a few layers.
RELATIVE_TOLERANCE = 1e-4

_EXAMPLES_PER_SPLIT = 120
_WORDS = [f"word{i}" for i in range(35)]

_SIZES = dict(
    vocab_size=40,
    hidden_size=32,
    embedding_size=16,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=48,
    max_position_embeddings=20,
)
_STUDENT = dict(_SIZES, intra_bottleneck_size=16)

CONFIGS = {
    "mobilebert": config_lib.mobilebert(**_STUDENT),
    "tiny": config_lib.mobilebert_tiny(**_STUDENT),
    "without_opt": config_lib.mobilebert_without_opt(**_STUDENT),
    "teacher": config_lib.ib_bert_large(**_SIZES, intra_bottleneck_size=64),
    "separate_attention": config_lib.mobilebert(
        **_STUDENT, key_query_shared_bottleneck=False, hidden_act="relu6"
    ),
    "no_bottleneck": config_lib.MobileBertConfig(
        **_SIZES, type_vocab_size=3, normalization_type="no_norm"
    ),
    "plain_bert": config_lib.MobileBertConfig(
        **{**_SIZES, "embedding_size": None}, num_feedforward_networks=2
    ),
    "pad_invariant": config_lib.mobilebert(**_STUDENT, pad_invariant=True),
    "multiplicative_mask": config_lib.mobilebert(
        **_STUDENT, attention_mask_type="multiplicative"
    ),
    "multiplicative_mask_plain": config_lib.MobileBertConfig(
        **_SIZES, attention_mask_type="multiplicative", hidden_act="gelu_erf"
    ),
    "plain_no_norm": config_lib.MobileBertConfig(
        **{**_SIZES, "embedding_size": None}, normalization_type="no_norm"
    ),
}


def randomize(model, seed: int = 0) -> None:
    """Fills all weights; gammas and betas too, which are trivial when fresh.

    Kernels keep activations and attention scores of order 1, so that float32
    rounding is not amplified by a saturated softmax.
    """
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        name = variable.name.split("/")[-1]
        shape = variable.shape
        if name.startswith("gamma"):
            values = generator.uniform(0.5, 1.5, shape)
        elif name.startswith(("beta", "bias")):
            values = generator.normal(0.0, 0.3, shape)
        elif name.startswith("kernel"):
            values = generator.normal(0.0, 0.5 / np.sqrt(shape[0]), shape)
        else:
            values = generator.normal(0.0, 0.5, shape)
        variable.assign(values.astype(np.float32))


def make_classifier(config, num_labels: int = NUM_LABELS, seed: int = 0):
    """Returns a randomised MobileBertForSequenceClassification."""
    return _built(
        models.MobileBertForSequenceClassification(config, num_labels), seed
    )


# A randomised model of each use, of a config.
MAKERS = {
    "classification": make_classifier,
    "regression": lambda config: make_classifier(config, num_labels=1),
    "question_answering": lambda config: _built(
        models.MobileBertForQuestionAnswering(config)
    ),
    "token_classification": lambda config: _built(
        models.MobileBertForTokenClassification(config, num_labels=5)
    ),
    "multiple_choice": lambda config: _built(
        models.MobileBertForMultipleChoice(config)
    ),
    "embedding_mean": lambda config: _built(
        models.MobileBertForSentenceEmbedding(config)
    ),
    "embedding_cls": lambda config: _built(
        models.MobileBertForSentenceEmbedding(
            config, pooling="cls", normalize=False
        )
    ),
    "encoder": lambda config: _built(models.MobileBertModel(config)),
}


def _built(model, seed=0):
    model.build_weights()
    randomize(model, seed)
    return model


def keras_outputs(model, inputs: dict[str, np.ndarray]) -> dict:
    """Returns what the files of a Keras model should give, by name, [N, ...].

    Args:
        model: of MAKERS.
        inputs: int32 [N, S]; for multiple choice too, a choice each.
    """
    if isinstance(model, models.MobileBertForMultipleChoice):
        outputs = model({name: ids[:, None] for name, ids in inputs.items()})
        return {"logits": outputs["logits"].numpy()}
    outputs = model(inputs)
    if isinstance(model, models.MobileBertForSequenceClassification):
        logits = outputs["logits"]
        if model.num_labels == 1:
            return {"value": logits.numpy()}
        return {"probabilities": tf.nn.softmax(logits).numpy()}
    if isinstance(model, models.MobileBertModel):
        names = ("sequence_output", "pooled_output")
    else:
        names = outputs.keys() & {
            "logits",
            "start_logits",
            "end_logits",
            "sentence_embedding",
        }
    return {name: outputs[name].numpy() for name in names}


def run(content: bytes, inputs: dict[str, np.ndarray]) -> dict:
    """Runs a .tflite example by example; returns {output: [N, ...]}."""
    interpreter = litert.Interpreter(model_content=content)
    runner = interpreter.get_signature_runner(inference_graph.SIGNATURE)
    outputs = [runner(**row) for row in calibration.single_rows(inputs)]
    return {
        name: np.concatenate([output[name] for output in outputs])
        for name in outputs[0]
    }


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Fails if two arrays differ by more than rounding."""
    assert actual.shape == expected.shape
    error = np.max(np.abs(actual - expected)) / np.max(np.abs(expected))
    assert error <= RELATIVE_TOLERANCE


def make_inputs(
    config, count: int, length: int = SEQUENCE_LENGTH, seed: int = 0
) -> dict[str, np.ndarray]:
    """Returns int32 inputs [count, length]: the first unpadded, pairs."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, config.vocab_size, [count, length])
    lengths = generator.integers(length // 4, length, count)[:, np.newaxis]
    lengths[0] = length
    positions = np.arange(length)[np.newaxis]
    mask = positions < lengths
    types = (positions >= lengths // 2) & mask
    return {
        "input_word_ids": (ids * mask).astype(np.int32),
        "input_mask": mask.astype(np.int32),
        "input_type_ids": types.astype(np.int32),
    }


def write_model_directory(
    folder: str, head: str = model_directory.SEQUENCE_CLASSIFICATION
) -> str:
    """Writes a randomised model's folder, with its task in `folder`/task.

    A classifier is centred so that both labels occur. The task's labels are
    what it says, every eighth flipped: its accuracy is neither 1 nor chance.

    Args:
        folder: to write to.
        head: of model_directory.HEADS.

    Returns:
        `folder`.
    """
    vocabulary = [*tokenization.SPECIAL_TOKENS, *_WORDS]
    os.makedirs(folder, exist_ok=True)
    vocab_file = os.path.join(folder, model_directory.VOCAB_FILE)
    with open(vocab_file, "w", encoding="utf-8") as stream:
        stream.write("".join(f"{token}\n" for token in vocabulary))
    config = CONFIGS["mobilebert"]
    task_dir = os.path.join(folder, "task")
    task = {}
    if head == model_directory.PRETRAINING:
        model = models.MobileBertForPreTraining(config)
        model.build_weights()
    else:
        task = dict(task_name="SST-2", labels=("0", "1"), data_dir=task_dir)
        model = make_classifier(config, num_labels=2)
        tokenizer = tokenization.WordPieceTokenizer(vocab_file)
        _write_task(task_dir, model, tokenizer)
    info = model_directory.ModelInfo(head, SEQUENCE_LENGTH, **task)
    model_directory.write(folder, config, info, vocab_file)
    checkpoint = tf.train.Checkpoint(model=model)
    tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1).save()
    return folder


def _write_task(folder, model, tokenizer):
    generator = np.random.default_rng(1)
    os.makedirs(folder)
    sentences = [
        " ".join(generator.choice(_WORDS, generator.integers(1, 14)))
        for _ in range(4 * _EXAMPLES_PER_SPLIT)
    ]
    examples = [
        glue.Example(guid="", text_a=sentence) for sentence in sentences
    ]
    inputs = glue.features(examples, tokenizer, SEQUENCE_LENGTH, labels=())
    logits = model(inputs)["logits"].numpy()
    margins = logits[:, 1] - logits[:, 0]
    bias = model.classifier.dense.bias
    bias.assign(bias + [np.median(margins), 0.0])
    margins -= np.median(margins)
    labels = (margins > 0).astype(int)
    labels[::8] = 1 - labels[::8]
    # The half of which the model is surer: a trained one has few examples
    # between its labels.
    sure = np.abs(margins) > np.median(np.abs(margins))
    rows = [f"{sentences[i]}\t{labels[i]}\n" for i in np.flatnonzero(sure)]
    for split, chosen in (
        (glue.TRAIN, rows[:_EXAMPLES_PER_SPLIT]),
        (glue.DEV, rows[_EXAMPLES_PER_SPLIT:]),
    ):
        path = os.path.join(folder, f"{split}.tsv")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write("sentence\tlabel\n" + "".join(chosen))
