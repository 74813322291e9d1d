"""Configuration of the network: fields and defaults of `bert_config.json`.

Field names, defaults and meaning are those of the published files
(google-research/mobilebert `BertConfig`), so that a published JSON file
builds the published network; attention_mask_type and pad_invariant are this
project's, and by default change nothing. The presets are what one usually
wants.
"""

import dataclasses
import difflib
import json

from mobilebert_tf import files

ACTIVATIONS = ("relu", "relu6", "gelu", "gelu_erf")
NORMALIZATIONS = ("no_norm", "layer_norm")
ADDITIVE_MASK = "additive"
MULTIPLICATIVE_MASK = "multiplicative"
MASK_TYPES = (ADDITIVE_MASK, MULTIPLICATIVE_MASK)


@dataclasses.dataclass(frozen=True)
class MobileBertConfig:
    """Sizes and switches of a MobileBERT, teacher or student.

    Attributes:
        vocab_size: int. Rows of the word table.
        hidden_size: int. Width between blocks (inter-block, 512 in the
            paper).
        num_hidden_layers: int. Number of blocks.
        num_attention_heads: int. Must divide the width inside a block.
        intermediate_size: int. Inner width of a feed-forward network.
        hidden_act: "relu", "relu6", "gelu" (tanh approximation) or "gelu_erf"
            (exact form).
        hidden_dropout_prob: float in [0, 1). Dropout of embeddings and of the
            output bottleneck.
        attention_probs_dropout_prob: float in [0, 1). Dropout of attention
            probabilities.
        max_position_embeddings: int. Longest sequence.
        type_vocab_size: int. Number of segment ids.
        initializer_range: float. Standard deviation of the truncated normal
            that initialises kernels and tables.
        embedding_size: int or None. Width of the word table; None means
            hidden_size.
        trigram_input: bool. Concatenate the embeddings of the next, current
            and previous token (paper section 3.1).
        use_bottleneck: bool. Input and output bottlenecks around each block.
        intra_bottleneck_size: int or None. Width inside a block; None means
            hidden_size.
        use_bottleneck_attention: bool. Query, key and value all read the
            input bottleneck (MobileBERT_TINY).
        key_query_shared_bottleneck: bool. Query and key read a bottleneck of
            their own, value reads the block input (MobileBERT).
        num_feedforward_networks: int. Stacked feed-forward networks per block
            (paper section 3.3).
        normalization_type: "no_norm" or "layer_norm".
        classifier_activation: bool. Pool the first token through a tanh
            layer; False takes the raw vector.
        attention_mask_type: "additive", the mask of the released weights
            (-10000 on the scores of padding), or "multiplicative", that of
            the official quantisation-aware code of 2021 (padding scores -6,
            and so keeps some weight).
        pad_invariant: bool. Make outputs at real positions independent of the
            padded length: embeddings of padding enter the trigram as zeros.
            The published network reads the [PAD] embedding there.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 16
    initializer_range: float = 0.02
    embedding_size: int | None = None
    trigram_input: bool = False
    use_bottleneck: bool = False
    intra_bottleneck_size: int | None = None
    use_bottleneck_attention: bool = False
    key_query_shared_bottleneck: bool = False
    num_feedforward_networks: int = 1
    normalization_type: str = "layer_norm"
    classifier_activation: bool = True
    attention_mask_type: str = ADDITIVE_MASK
    pad_invariant: bool = False

    def __post_init__(self):
        if self.embedding_size is None:
            object.__setattr__(self, "embedding_size", self.hidden_size)
        if self.intra_bottleneck_size is None:
            object.__setattr__(self, "intra_bottleneck_size", self.hidden_size)
        self._validate()

    @property
    def block_size(self) -> int:
        """Width inside a block: intra_bottleneck_size, or hidden_size."""
        if self.use_bottleneck:
            return self.intra_bottleneck_size
        return self.hidden_size

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.block_size // self.num_attention_heads

    def check_sequence_length(self, length: int, key: str) -> None:
        """Raises ValueError, naming `key`, if `length` has no positions."""
        if not 1 <= length <= self.max_position_embeddings:
            raise ValueError(
                f"{key}: expected 1 to max_position_embeddings="
                f"{self.max_position_embeddings}, got {length}"
            )

    def to_dict(self) -> dict:
        """Returns the fields as a dict, for JSON."""
        return dataclasses.asdict(self)

    def to_json_file(self, path: str) -> None:
        """Writes `bert_config.json`, whole or not at all."""
        files.write_text(path, json.dumps(self.to_dict(), indent=2) + "\n")

    @classmethod
    def from_dict(cls, fields: dict, source: str = "config"):
        """Builds a config; absent keys take the published class defaults.

        Args:
            fields: keys of bert_config.json.
            source: where the fields come from, for messages.

        Raises:
            ValueError: for an unknown key or an impossible value.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in fields:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "no such field"
                raise ValueError(f"{source}: unknown key {key!r}; {hint}")
        try:
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{source}: {error}") from error

    @classmethod
    def from_json_file(cls, path: str):
        """Reads a published or own `bert_config.json`.

        Raises:
            ValueError: if the file is absent, no JSON object, or invalid.
        """
        files.require_file(path, "bert_config_file")
        with open(path, encoding="utf-8") as stream:
            try:
                fields = json.load(stream)
            except ValueError as error:
                raise ValueError(f"{path}: not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise ValueError(
                f"{path}: expected a JSON object, got {type(fields).__name__}"
            )
        return cls.from_dict(fields, source=path)

    def _validate(self):
        sizes = (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_position_embeddings",
            "type_vocab_size",
            "embedding_size",
            "intra_bottleneck_size",
            "num_feedforward_networks",
        )
        for name in sizes:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"{name}: expected an integer, got {value!r}")
            if value < 1:
                raise ValueError(f"{name}: expected at least 1, got {value}")
        rates = ("hidden_dropout_prob", "attention_probs_dropout_prob")
        for name in (*rates, "initializer_range"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name}: expected a number, got {value!r}")
        # A quoted "false" would count as true.
        for name in (
            "trigram_input",
            "use_bottleneck",
            "use_bottleneck_attention",
            "key_query_shared_bottleneck",
            "classifier_activation",
            "pad_invariant",
        ):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ValueError(
                    f"{name}: expected true or false, got {value!r}"
                )
        for name in rates:
            value = getattr(self, name)
            if not 0.0 <= value < 1.0:
                raise ValueError(f"{name}: expected [0, 1), got {value}")
        if not self.initializer_range > 0:
            raise ValueError(
                f"initializer_range: expected > 0, got {self.initializer_range}"
            )
        for name, choices in (
            ("hidden_act", ACTIVATIONS),
            ("normalization_type", NORMALIZATIONS),
            ("attention_mask_type", MASK_TYPES),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(
                    f"{name}: expected one of {choices}, got {value!r}"
                )
        if (
            self.pad_invariant
            and self.attention_mask_type == MULTIPLICATIVE_MASK
        ):
            raise ValueError(
                "pad_invariant=true needs attention_mask_type='additive': the "
                "multiplicative mask leaves padding some attention"
            )
        if self.block_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} must divide "
                f"the width inside a block, {self.block_size}"
            )
        if self.embedding_size > self.hidden_size:
            raise ValueError(
                f"embedding_size={self.embedding_size} must not exceed "
                f"hidden_size={self.hidden_size}: the masked-LM head extends "
                "the word table to hidden_size"
            )
        if not self.use_bottleneck:
            for name in (
                "use_bottleneck_attention",
                "key_query_shared_bottleneck",
            ):
                if getattr(self, name):
                    raise ValueError(f"{name} needs use_bottleneck=true")


def mobilebert(**overrides) -> MobileBertConfig:
    """The released MobileBERT: 24,581,888 parameters without heads."""
    fields = dict(
        type_vocab_size=2,
        hidden_size=512,
        intra_bottleneck_size=128,
        intermediate_size=512,
        num_hidden_layers=24,
        num_attention_heads=4,
        hidden_act="relu",
        hidden_dropout_prob=0.0,
        embedding_size=128,
        trigram_input=True,
        use_bottleneck=True,
        key_query_shared_bottleneck=True,
        num_feedforward_networks=4,
        normalization_type="no_norm",
        classifier_activation=False,
    )
    return MobileBertConfig(**{**fields, **overrides})


def mobilebert_tiny(**overrides) -> MobileBertConfig:
    """MobileBERT_TINY: two FFNs, attention inside the bottleneck."""
    fields = dict(
        use_bottleneck_attention=True,
        key_query_shared_bottleneck=False,
        num_feedforward_networks=2,
    )
    return mobilebert(**{**fields, **overrides})


def mobilebert_without_opt(**overrides) -> MobileBertConfig:
    """MobileBERT without operational optimisations: LayerNorm and gelu."""
    fields = dict(hidden_act="gelu", normalization_type="layer_norm")
    return mobilebert(**{**fields, **overrides})


def ib_bert_large(**overrides) -> MobileBertConfig:
    """The teacher: BERT_LARGE with inverted bottlenecks (section 3.2)."""
    fields = dict(
        intra_bottleneck_size=1024,
        intermediate_size=4096,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        key_query_shared_bottleneck=False,
        num_feedforward_networks=1,
        normalization_type="layer_norm",
        classifier_activation=True,
    )
    return mobilebert(**{**fields, **overrides})


def micro(**overrides) -> MobileBertConfig:
    """A MobileBERT for tests and demonstrations: 4 blocks, 1 M parameters."""
    fields = dict(
        vocab_size=8000,
        hidden_size=128,
        embedding_size=64,
        intra_bottleneck_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        max_position_embeddings=128,
    )
    return mobilebert(**{**fields, **overrides})


def micro_teacher(**overrides) -> MobileBertConfig:
    """The inverted-bottleneck teacher of `micro`."""
    fields = dict(
        vocab_size=8000,
        hidden_size=128,
        embedding_size=64,
        intra_bottleneck_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        max_position_embeddings=128,
    )
    return ib_bert_large(**{**fields, **overrides})


def mini(**overrides) -> MobileBertConfig:
    """A MobileBERT that two cores pre-train in minutes: 2 M parameters."""
    fields = dict(
        hidden_size=256,
        embedding_size=128,
        intermediate_size=256,
    )
    return micro(**{**fields, **overrides})


def mini_teacher(**overrides) -> MobileBertConfig:
    """The inverted-bottleneck teacher of `mini`."""
    fields = dict(
        hidden_size=256,
        embedding_size=128,
    )
    return micro_teacher(**{**fields, **overrides})


PRESETS = {
    preset.__name__: preset
    for preset in (
        mobilebert,
        mobilebert_tiny,
        mobilebert_without_opt,
        ib_bert_large,
        micro,
        micro_teacher,
        mini,
        mini_teacher,
    )
}


def preset(name: str, **overrides) -> MobileBertConfig:
    """Returns the preset `name` with some fields replaced.

    Raises:
        ValueError: if there is no such preset.
    """
    if name not in PRESETS:
        raise ValueError(
            f"unknown preset {name!r}, expected one of {', '.join(PRESETS)}"
        )
    return PRESETS[name](**overrides)
