r"""Makes the demo's text and task from what is installed with the package.

    python -m demo.corpus --output_dir=/tmp/corpus

The text is the prose of Python's own documentation (pydoc topics) and of the
docstrings of the standard library and of numerical packages, read from their
sources without importing them: `text/SOURCE.txt`, one sentence per line, one
document per module or topic.

The task, in the layout of GLUE's SST-2, asks of a sentence: is it about
Python and its library (label 0) or about numerical computing (label 1)?
Classes are balanced, no module gives sentences to two splits, and sentences
that name a package are left out: `task/{train,dev,test}.tsv`.
"""

import ast
import collections
import hashlib
import importlib.util
import inspect
import os
import re
import sysconfig
import time
import warnings
from collections.abc import Iterator

from absl import flags
from absl import logging

from mobilebert_tf import cli
from mobilebert_tf import files
from mobilebert_tf.data import sentences

_OUTPUT_DIR = flags.DEFINE_string("output_dir", None, "Folder to write to.")
_MAX_MEGABYTES = flags.DEFINE_float(
    "max_megabytes",
    8.0,
    "Stop reading sources after this much text; the task needs about 3 MB.",
    lower_bound=3.0,
)

_LIBRARY = "python_library"
_TOPICS = "python_topics"
# In order of reading; those that are not installed are skipped. The classes
# of the task come first, so that --max_megabytes cuts the others.
_PACKAGES = (
    "numpy",
    "scipy",
    "sklearn",
    "matplotlib",
    "pandas",
    "keras",
    "tensorflow",
    "official",
)
_LABEL_OF_SOURCE = {
    _TOPICS: 0,
    _LIBRARY: 0,
    "numpy": 1,
    "scipy": 1,
    "sklearn": 1,
}
_SKIPPED_FOLDERS = frozenset(
    "test tests testing site-packages dist-packages idlelib lib2to3 _vendor"
    " pydoc_data __pycache__".split()
)

# Of 20 parts of the modules, those for dev and test.
_PARTS = 20
_SPLIT_OF_PART = {0: "dev", 1: "dev", 2: "dev", 3: "test", 4: "test"}
# Sentences per label.
_SPLIT_SIZES = {"train": 4000, "dev": 400, "test": 200}
_MIN_SENTENCES_PER_DOCUMENT = 3

_CODE_LINE = re.compile(r"\s*(>>>|\.\.|[$|+=#@~^-]|\S.*(\s{3,}|::))")
_BULLET = re.compile(r"\s*([-*•]|\d+[.)])\s+")
_MARKUP = (
    (re.compile(r":[\w:]+:`(?:~(?:[\w.]*\.)?)?([^`<]+?)(\s*<[^`]*>)?`"), r"\1"),
    (re.compile(r"`+([^`]*?)(\s*<[^`]*>)?`+_*"), r"\1"),
    (re.compile(r"\*+([^*\s][^*]*?)\*+"), r"\1"),
)
_PROSE = re.compile(r"[A-Z][A-Za-z0-9 ,.;:'\"()!?/-]*[.!?]\)?")
_COMMON_WORDS = frozenset(
    "the a an is are was of to in that this these for and or if it its be by"
    " with on as not from at can will which when".split()
)
_MIN_COMMON_WORDS = 2
_WORDS = range(6, 41)
_MIN_PLAIN_WORDS = 0.8
_GIVEAWAY = re.compile(
    r"python|numpy|scipy|sklearn|scikit|pandas|tensorflow|keras|jax|torch",
    re.IGNORECASE,
)


def main(_):
    if not _OUTPUT_DIR.value:
        raise ValueError("--output_dir is required: got nothing")
    start = time.monotonic()
    documents = _collect(_MAX_MEGABYTES.value * 1e6)
    sizes = _write_text(documents, os.path.join(_OUTPUT_DIR.value, "text"))
    _write_task(documents, os.path.join(_OUTPUT_DIR.value, "task"))
    print(
        f"{_OUTPUT_DIR.value}: {sum(sizes.values()) / 1e6:.1f} MB of text from "
        f"{len(sizes)} sources in {time.monotonic() - start:.1f} s"
    )


def prose_sentences(docstring: str) -> list[str]:
    """Returns the sentences of a docstring or topic that are plain prose.

    A block is a run of lines of the same indentation; a bullet begins one.
    Blocks with a line that looks like code, a table, a heading or a directive
    are dropped, reStructuredText markup is removed, and of the rest those
    sentences stay that begin with a capital, end with a full stop (! or ?),
    have 6 to 40 words of which four in five are made of letters only and two
    are common function words, and consist of letters, digits and ordinary
    punctuation.
    """
    found = []
    for block in _blocks(inspect.cleandoc(docstring)):
        if any(_CODE_LINE.match(line) for line in block):
            continue
        text = " ".join(line.strip() for line in block)
        for pattern, replacement in _MARKUP:
            text = pattern.sub(replacement, text)
        text = " ".join(text.split())
        found.extend(s for s in sentences.split(text) if _is_prose(s))
    return found


def _collect(max_bytes):
    """Returns {source: {module: sentences}}, every sentence once."""
    documents = {}
    seen = set()
    size = 0
    for source, modules in _sources():
        kept = documents.setdefault(source, {})
        for module, docstrings in modules:
            if size >= max_bytes:
                break
            document = []
            for docstring in docstrings:
                for sentence in prose_sentences(docstring):
                    # "Return x." and "Returns `x`." may both stay; copies
                    # that differ in punctuation or case may not.
                    key = re.sub(r"\W+", " ", sentence).lower()
                    if key not in seen:
                        seen.add(key)
                        document.append(sentence)
            if len(document) >= _MIN_SENTENCES_PER_DOCUMENT:
                kept[module] = document
                size += sum(len(sentence) + 1 for sentence in document)
        logging.info(
            "%s: %d documents, %.1f MB in all", source, len(kept), size / 1e6
        )
    return documents


def _sources() -> Iterator[tuple[str, Iterator]]:
    yield _TOPICS, _topics()
    yield _LIBRARY, _modules(sysconfig.get_paths()["stdlib"])
    for package in _PACKAGES:
        # Finds the folder without importing the package.
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            logging.info("%s: not installed, skipped", package)
            continue
        yield package, _modules(spec.submodule_search_locations[0])


def _topics():
    """Yields (topic, [text]); reads the dictionary without running it."""
    folder = sysconfig.get_paths()["stdlib"]
    path = os.path.join(folder, "pydoc_data", "topics.py")
    for node in _parse(path).body:
        if isinstance(node, ast.Assign):
            for topic, text in sorted(ast.literal_eval(node.value).items()):
                yield topic, [text]


def _modules(folder):
    """Yields (path below `folder`, docstrings) of each module, in order."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - _SKIPPED_FOLDERS)
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(parent, name)
                yield os.path.relpath(path, folder), _docstrings(_parse(path))


def _parse(path):
    try:
        with open(path, "rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in the sources
            return ast.parse(stream.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        # Templates and files of another Python version.
        return ast.Module(body=[], type_ignores=[])


def _docstrings(node):
    """Yields docstrings of a module, its classes and functions, in order."""
    docstring = ast.get_docstring(node, clean=False)
    if docstring:
        yield docstring
    for child in node.body:
        if isinstance(
            child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ):
            yield from _docstrings(child)


def _blocks(text):
    block = []
    indentation = 0
    for line in text.splitlines():
        bullet = _BULLET.match(line)
        indentation_before = indentation
        indentation = bullet.end() if bullet else len(line) - len(line.lstrip())
        if not line.strip() or bullet or indentation != indentation_before:
            if block:
                yield block
            block = []
        if line.strip():
            block.append(line[bullet.end() :] if bullet else line)
    if block:
        yield block


def _is_prose(sentence):
    words = sentence.split()
    if len(words) not in _WORDS or not _PROSE.fullmatch(sentence):
        return False
    if sentence.count("(") != sentence.count(")"):
        return False
    bare = [word.strip(",.;:'\"()!?").lower() for word in words]
    plain = sum(word.replace("-", "").isalpha() for word in bare)
    common = sum(word in _COMMON_WORDS for word in bare)
    return plain >= _MIN_PLAIN_WORDS * len(words) and (
        common >= _MIN_COMMON_WORDS
    )


def _write_text(documents, folder):
    """Writes one file per source; returns their sizes."""
    sizes = {}
    for source, modules in documents.items():
        if not modules:
            continue
        text = "\n\n".join("\n".join(lines) for lines in modules.values())
        files.write_text(os.path.join(folder, f"{source}.txt"), text + "\n")
        sizes[source] = len(text) + 1
    return sizes


def _write_task(documents, folder):
    pools = collections.defaultdict(list)
    for source, modules in documents.items():
        if source not in _LABEL_OF_SOURCE:
            continue
        label = _LABEL_OF_SOURCE[source]
        for module, lines in modules.items():
            part = _hash(f"{source}/{module}") % _PARTS
            split = _SPLIT_OF_PART.get(part, "train")
            pools[split, label].extend(
                line for line in lines if not _GIVEAWAY.search(line)
            )
    for split, size in _SPLIT_SIZES.items():
        size = min(size, *(len(pools[split, label]) for label in (0, 1)))
        if not size:
            raise ValueError(
                f"task: got no {split} sentences of one of the classes; "
                "expected the sources of numpy, scipy and sklearn"
            )
        rows = [
            (sentence, label)
            for label in (0, 1)
            for sentence in sorted(pools[split, label], key=_hash)[:size]
        ]
        # Another order than above, where the larger class hashes lower.
        rows.sort(key=lambda row: _hash(f"order {row[0]}"))
        if split == "test":
            lines = ["index\tsentence"]
            lines += [f"{i}\t{row[0]}" for i, row in enumerate(rows)]
        else:
            lines = ["sentence\tlabel"]
            lines += [f"{sentence}\t{label}" for sentence, label in rows]
        path = os.path.join(folder, f"{split}.tsv")
        files.write_text(path, "\n".join(lines) + "\n")
        print(f"{path}: {len(rows):,} sentences, half of each label")


def _hash(text):
    """A random-looking number that is the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


if __name__ == "__main__":
    cli.run(main)
