"""A weight and where each checkpoint format keeps it."""

import dataclasses

import numpy as np

TF1 = "tf1"
HUGGINGFACE = "huggingface"
GARDEN = "garden"
NATIVE = "mobilebert_tf"
FORMATS = (TF1, HUGGINGFACE, GARDEN, NATIVE)

BACKBONE = "backbone"
POOLER = "pooler"
HEAD = "head"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where and how a format stores a weight.

    Attributes:
        key: str. Name, or object path, in the format.
        shape: tuple of int. As stored.
        transposed: bool. Whether the canonical form is the transpose;
            otherwise it is the same values in another shape, or in the same.
    """

    key: str
    shape: tuple[int, ...]
    transposed: bool = False

    def encode(self, canonical: np.ndarray) -> np.ndarray:
        """Turns the canonical value into the stored one."""
        if self.transposed:
            return np.ascontiguousarray(canonical.T)
        return canonical.reshape(self.shape)

    def decode(self, stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Turns the stored value into the canonical one, of `shape`."""
        if self.transposed:
            return np.ascontiguousarray(stored.T)
        return stored.reshape(shape)


@dataclasses.dataclass(frozen=True)
class Weight:
    """One weight of the network.

    Attributes:
        name: str. The TF1 name; of a head that TF1 does not know, one in its
            style.
        shape: tuple of int. The TF1 shape: kernels [in, out], the output
            weights of classifiers [out, in].
        part: BACKBONE, POOLER or HEAD.
        initial: "normal", "ones" or "zeros", when there is no trained value.
        places: dict from format to Place. A format that cannot hold the
            weight is absent.
    """

    name: str
    shape: tuple[int, ...]
    part: str
    initial: str
    places: dict[str, Place]


# The end of a weight's name in each format.
_ENDS = {
    "table": ("", ".weight", "/embeddings", ""),
    "kernel": ("/kernel", ".weight", "/kernel", "/kernel"),
    "bias": ("/bias", ".bias", "/bias", "/bias"),
    "gamma": ("/gamma", ".weight", "/gamma", "/gamma"),
    "beta": ("/beta", ".bias", "/beta", "/beta"),
    "output_weights": ("/output_weights", ".weight", "/kernel", "/kernel"),
    "output_bias": ("/output_bias", ".bias", "/bias", "/bias"),
    "extra_output_weights": (
        "/extra_output_weights",
        ".dense.weight",
        "/extra_output_weights",
        "/extra_output_weights",
    ),
    # ".S" is the slash of a name within an object path.
    "vocabulary_bias": (
        "/output_bias",
        ".bias",
        "/output_bias.Sbias",
        "/output_bias",
    ),
}
_TRANSPOSED = {
    "kernel": (HUGGINGFACE,),
    "output_weights": (GARDEN, NATIVE),
    "extra_output_weights": (HUGGINGFACE,),
}
_INITIAL = {"gamma": "ones", "beta": "zeros", "bias": "zeros"}
_INITIAL.update(output_bias="zeros", vocabulary_bias="zeros")


@dataclasses.dataclass(frozen=True)
class Scope:
    """What stands before the last part of a name, in each format.

    Attributes:
        part: BACKBONE, POOLER or HEAD.
        name: str. The canonical scope.
        huggingface, garden, native: str. The same in the other formats;
            a Garden scope of "" is in no Garden checkpoint.
        in_tf1: bool. Whether TF1 checkpoints know it.
    """

    part: str
    name: str
    huggingface: str
    garden: str
    native: str
    in_tf1: bool = True

    def weight(self, kind, shape, garden_shape=None):
        """Returns the weight `kind` (a key of _ENDS) of canonical `shape`."""
        scopes = (self.name, self.huggingface, self.garden, self.native)
        keys = {
            name: (scope + end).removeprefix("/")
            for name, scope, end in zip(
                FORMATS, scopes, _ENDS[kind], strict=True
            )
        }
        places = {}
        for name, key in keys.items():
            transposed = name in _TRANSPOSED.get(kind, ())
            stored = shape[::-1] if transposed else shape
            if name == GARDEN and garden_shape is not None:
                stored = garden_shape
            places[name] = Place(key, stored, transposed)
        if not self.in_tf1:
            del places[TF1]
        if not self.garden:
            del places[GARDEN]
        initial = _INITIAL.get(kind, "normal")
        return Weight(keys[TF1], shape, self.part, initial, places)

    def dense(self, rows, columns, garden_kernel=None, garden_bias=None):
        """Returns kernel [in, out] and bias [out]."""
        return [
            self.weight("kernel", (rows, columns), garden_kernel),
            self.weight("bias", (columns,), garden_bias),
        ]

    def norm(self, width):
        """Returns gamma and beta."""
        return [self.weight("gamma", (width,)), self.weight("beta", (width,))]

    def classifier(self, rows, columns):
        """Returns output weights [out, in] and bias [out]."""
        return [
            self.weight("output_weights", (columns, rows)),
            self.weight("output_bias", (columns,)),
        ]
