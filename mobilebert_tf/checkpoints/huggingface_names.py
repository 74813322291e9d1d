"""Names of tensors in Hugging Face's files, old and wrapped ones too."""

from collections.abc import Iterable

PREFIX = "mobilebert."
WORD_TABLE = "embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder."
# From a tensor to the other name under which it may be stored, also or only.
TIED = {
    "cls.predictions.bias": f"{DECODER}bias",
    f"{PREFIX}{WORD_TABLE}": f"{DECODER}weight",
}
_BACKBONE_SCOPES = ("embeddings.", "encoder.", "pooler.")


class StoredNames:
    """Names in a file, and what the present Hugging Face calls them.

    The encoder alone has no prefix, other conversions have one of their own,
    wrappers put theirs before all names ("module.mobilebert.",
    "module.classifier."), and old files call gamma and beta so.

    Args:
        stored: all names of the file.
    """

    def __init__(self, stored: Iterable[str]):
        tables = [name for name in stored if name.endswith(WORD_TABLE)]
        self._prefix = PREFIX
        if tables:
            self._prefix = min(tables, key=len).removesuffix(WORD_TABLE)
        # The last part is the encoder's own.
        parts = self._prefix.split(".")[:-2]
        self._wrapper = "".join(f"{part}." for part in parts)
        self._stored = {self.plain(name): name for name in stored}

    def plain(self, name: str) -> str:
        """Returns the present name of what is stored as `name`."""
        rest = name.removeprefix(self._prefix)
        if name.startswith(self._prefix) and rest.startswith(_BACKBONE_SCOPES):
            plain = PREFIX + rest
        else:
            plain = name.removeprefix(self._wrapper)
        plain = plain.replace("LayerNorm.gamma", "LayerNorm.weight")
        return plain.replace("LayerNorm.beta", "LayerNorm.bias")

    def find(self, key: str) -> str | None:
        """Returns under which name exactly `key` is stored, or None."""
        return self._stored.get(key)

    def locate(self, key: str) -> str:
        """Returns under which name `key` is stored, or would be."""
        return self.find(key) or self.find(TIED.get(key, "")) or key

    def __contains__(self, key: str) -> bool:
        return self.locate(key) in self._stored.values()
