"""Gradients of Hugging Face's own losses and of the same losses by us.

Hugging Face's word table has padding_idx 0: PyTorch drops the gradient of row
0 that comes through the lookup (that of the tied output columns stays). The
reference trains [PAD] like any row, and so do we. Here padding_idx is taken
away, so that row 0 is compared as well.
"""

import hugging_face_models
import numpy as np
import tensorflow as tf

_IGNORED_LABEL = -100  # by PyTorch's cross-entropy
_KEY_BIAS = "attention.self.key.bias"


def train_on_row_0(theirs) -> None:
    """Makes Hugging Face's word table train row 0 through the lookup too."""
    theirs.get_input_embeddings().padding_idx = None


def assert_same_pretraining_gradients(
    ours, theirs, inputs, tolerance=1e-3
) -> None:
    """Compares masked-LM plus next-sentence losses and their gradients.

    We read the masked positions, Hugging Face ignores the others' labels.

    Args:
        ours: MobileBertForPreTraining, ours.
        theirs: Hugging Face's, of the same weights.
        inputs: our inputs, int [B, S].
        tolerance: as of assert_same_gradients.
    """
    ids = inputs["input_word_ids"]
    generator = np.random.default_rng(0)
    count = max(1, ids.shape[1] // 4)
    positions = np.stack(
        [generator.permutation(ids.shape[1])[:count] for _ in ids]
    )
    labels = generator.integers(0, ours.config.vocab_size, positions.shape)
    next_labels = generator.integers(0, 2, len(ids))
    all_labels = np.full(ids.shape, _IGNORED_LABEL)
    np.put_along_axis(all_labels, positions, labels, axis=1)

    def loss_of(outputs):
        return mean_cross_entropy(
            outputs["masked_lm_logits"], labels
        ) + mean_cross_entropy(outputs["next_sentence_logits"], next_labels)

    assert_same_gradients(
        ours,
        theirs,
        {**inputs, "masked_lm_positions": positions},
        loss_of,
        {
            **hugging_face_models.to_torch(inputs),
            **to_labels(labels=all_labels, next_sentence_label=next_labels),
        },
        tolerance,
    )


def assert_same_gradients(
    ours, theirs, inputs, loss_of, torch_inputs, tolerance=1e-3, shifts=()
) -> None:
    """Compares a loss, and its gradient for every weight.

    What a key's bias adds is the same for all scores that a softmax compares,
    which takes it away: its gradient is zero but for rounding, and the
    rounding is compared with the gradient of its kernel.

    Args:
        ours: one of our models.
        theirs: Hugging Face's, of the same weights.
        inputs: ours, of the model.
        loss_of: makes a scalar of our model's outputs.
        torch_inputs: Hugging Face's, labels included.
        tolerance: norm of the error over norm of the gradient, per weight.
        shifts: ends of the names of other biases that softmax takes away.
    """
    names, variables, transposed = zip(
        *hugging_face_models.name_variables(ours), strict=True
    )
    with tf.GradientTape() as tape:
        loss = loss_of(ours(inputs))
    gradients = tape.gradient(loss, variables)
    theirs.zero_grad()
    torch_loss = theirs(**torch_inputs).loss
    torch_loss.backward()
    torch_loss = torch_loss.item()
    assert abs(float(loss) - torch_loss) <= tolerance * abs(torch_loss)
    parameters = dict(theirs.named_parameters())
    norms = {}
    for name, gradient, turn in zip(names, gradients, transposed, strict=True):
        actual = tf.convert_to_tensor(gradient).numpy()
        expected = parameters[name].grad.numpy()
        expected = expected.T if turn else expected
        assert actual.shape == expected.shape
        norms[name] = np.linalg.norm(expected)
        scale = norms[name]
        if name.endswith((_KEY_BIAS, *shifts)):
            scale = norms[name.replace("bias", "weight")]
        assert scale > 0, name
        error = np.linalg.norm(actual - expected)
        assert error <= tolerance * scale, name


def mean_cross_entropy(logits, labels) -> tf.Tensor:
    """Returns the mean over all labels, int of the logits' leading shape."""
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    )


def to_labels(**labels: np.ndarray) -> dict:
    """Returns labels as PyTorch's int64 tensors."""
    return {
        name: hugging_face_models.torch.tensor(
            values, dtype=hugging_face_models.torch.int64
        )
        for name, values in labels.items()
    }
