"""How the tags of words spell entities: BIO, IOB1, IOBES and BILOU.

A tag is "O", outside of entities, or a prefix and the entity's type, "B-PER":

    bio     B begins an entity, I goes on with it (also called IOB2)
    iob1    I is inside an entity; B begins one right after one of its type
    iobes   as bio, and E ends an entity; S is one of a single word
    bilou   as iobes, with L (last) for E and U (unit) for S
    none    tags mean what they say (parts of speech, ...): no entities
"""

from collections.abc import Iterable
from collections.abc import Sequence

BIO = "bio"
IOB1 = "iob1"
IOBES = "iobes"
BILOU = "bilou"
NONE = "none"
SCHEMES = (BIO, IOB1, IOBES, BILOU, NONE)

OUTSIDE = "O"

_PREFIXES = {BIO: "BI", IOB1: "BI", IOBES: "BIES", BILOU: "BILU"}
_TO_IOBES = {"L": "E", "U": "S"}


def check_scheme(scheme: str) -> str:
    """Returns `scheme`.

    Raises:
        ValueError: if it is none of SCHEMES.
    """
    if scheme not in SCHEMES:
        raise ValueError(
            f"scheme: got {scheme!r}, expected one of {', '.join(SCHEMES)}"
        )
    return scheme


def check_tag(tag: str, scheme: str) -> None:
    """Checks the form of one tag.

    Raises:
        ValueError: if `scheme` has no tags like it, or it is empty.
    """
    if scheme == NONE:
        if not tag:
            raise ValueError("got an empty tag, expected a word")
        return
    prefixes = _PREFIXES[scheme]
    if tag == OUTSIDE or (tag[1:2] == "-" and tag[2:] and tag[0] in prefixes):
        return
    forms = ", ".join(f"{prefix}-TYPE" for prefix in prefixes)
    raise ValueError(
        f"got tag {tag!r}, expected O or one of {forms} (scheme {scheme})"
    )


def label_set(tags: Iterable[str], scheme: str) -> tuple[str, ...]:
    """Returns all tags that texts with the types of `tags` may have.

    Rare ones that `tags` lacks belong to it too: eng.train of CoNLL-2003 has
    no B-PER, which is a tag of its scheme nevertheless.

    Args:
        tags: of the form of `scheme`.
        scheme: one of SCHEMES.

    Returns:
        "O", then by type each prefix; the sorted tags if the scheme is none.
    """
    if scheme == NONE:
        return tuple(sorted(set(tags)))
    types = sorted({tag[2:] for tag in tags if tag != OUTSIDE})
    prefixes = _PREFIXES[scheme]
    return OUTSIDE, *(f"{prefix}-{t}" for t in types for prefix in prefixes)


def check_labels(labels: Sequence[str], scheme: str) -> None:
    """Checks a list of labels, of a configuration or a stored model.

    Raises:
        ValueError: for a label not of the scheme's form, or twice there.
    """
    for index, label in enumerate(labels):
        try:
            check_tag(label, scheme)
        except ValueError as error:
            raise ValueError(f"labels: {error}") from error
        if label in labels[:index]:
            raise ValueError(f"labels: got {label!r} twice")


def may_follow(previous: str, tag: str, scheme: str) -> bool:
    """Whether `tag` may come right after `previous` in a sentence.

    Both ends of a sentence count as "O".

    Args:
        previous: of the form of `scheme`, as is `tag`.
        tag: the next one.
        scheme: one of SCHEMES.
    """
    if scheme == NONE:
        return True
    prefix = _TO_IOBES.get(tag[0], tag[0])
    is_open = previous[0] in "BI"
    goes_on = is_open and previous[2:] == tag[2:]
    if scheme == BIO:
        return prefix != "I" or goes_on
    if scheme == IOB1:
        return prefix != "B" or goes_on
    return goes_on if prefix in "IE" else not is_open


def bilou_to_iobes(tag: str) -> str:
    """Returns a tag of the scheme bilou as the same one of iobes."""
    return _TO_IOBES.get(tag[0], tag[0]) + tag[1:]
