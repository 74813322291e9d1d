"""Which runtimes and client libraries can load a .tflite file, without one.

Read off the file alone; tests/clients holds it against the clients themselves.
"""

import collections
import dataclasses

from ai_edge_litert import schema_py_generated as schema

from export import flatbuffer_model
from export import metadata
from export import metadata_schema
from export import op_versions

INFO = "info"
WARNING = "warning"
REFUSE = "refuse"

TENSORFLOW_LITE = "TensorFlow Lite"
MEDIAPIPE = "MediaPipe Tasks 1.2.2"
TASK_LIBRARY = "TFLite Task Library 0.4.4"
# The TensorFlow Lite inside, by which operator versions each was seen to load:
# MediaPipe all, Task Library those of 2.14 and none newer.
_RELEASES = {MEDIAPIPE: "2.20", TASK_LIBRARY: "2.14"}

# Formats of outputs that clients read.
_SCORES = ("FLOAT32", "UINT8")
_FLOATS = ("FLOAT32",)
# Client class, and the formats it reads, by the metadata name of the output.
_CLIENTS = {
    MEDIAPIPE: {
        "probability": ("TextClassifier", _SCORES),
        "embedding": ("TextEmbedder", _SCORES),
    },
    TASK_LIBRARY: {
        "probability": ("BertNLClassifier", (*_SCORES, "INT8")),
        "embedding": ("TextEmbedder", _SCORES),
        "start_logits": ("BertQuestionAnswerer", _FLOATS),
        "end_logits": ("BertQuestionAnswerer", _FLOATS),
    },
}
_QUESTION_ANSWERER = "BertQuestionAnswerer"
_QUESTION_LENGTH = 384
_NUM_INPUTS = 3

_TYPE_NAMES = {
    value: name
    for name, value in vars(schema.TensorType).items()
    if isinstance(value, int)
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something to know before a file is shipped.

    Attributes:
        level: INFO, WARNING, or REFUSE for what would be wrong without a word.
        text: one line.
    """

    level: str
    text: str


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Whether a runtime or client library can load the file.

    Attributes:
        name: of it.
        loads: bool.
        text: the client class or oldest release that does, or why not.
    """

    name: str
    loads: bool
    text: str


@dataclasses.dataclass(frozen=True)
class Lint:
    """What a file asks of those who load it.

    Attributes:
        runtimes: TensorFlow Lite itself, then the client libraries.
        findings: the worst first.
    """

    runtimes: tuple[Runtime, ...]
    findings: tuple[Finding, ...]

    @property
    def refusals(self) -> tuple[str, ...]:
        """Returns why the file is not to be shipped; empty if it may be."""
        return tuple(f.text for f in self.findings if f.level == REFUSE)


def lint(content: bytes) -> Lint:
    """Inspects a file.

    Args:
        content: of a .tflite file.

    Raises:
        ValueError: if it is no .tflite file.
    """
    uses = op_versions.uses(flatbuffer_model.read(content))
    described = metadata.read(content)["metadata"]
    # As it lies in the file: `read` would move the weights inside.
    model = schema.ModelT.InitFromObj(
        schema.Model.GetRootAs(bytearray(content), 0)
    )
    findings = [
        *_stamps(uses),
        *_custom_operators(uses),
        *_weights_outside(model),
        *_number_formats(model),
    ]
    order = (REFUSE, WARNING, INFO)
    return Lint(
        runtimes=(
            _tensorflow_lite(uses),
            *(_client(name, model, uses, described) for name in _CLIENTS),
        ),
        findings=tuple(sorted(findings, key=lambda f: order.index(f.level))),
    )


def lines(result: Lint) -> list[str]:
    """Returns the verdict as lines of text."""
    return [
        *(
            f"{each.name}: {'' if each.loads else 'no, '}{each.text}"
            for each in result.runtimes
        ),
        *(f"{each.level}: {each.text}" for each in result.findings),
    ]


def _tensorflow_lite(uses):
    custom = _custom_names(uses)
    unknown = sorted(
        {use.name for use in uses if not op_versions.is_known(use)}
    )
    text = f"{op_versions.first_runtime(uses)} or newer, LiteRT included"
    if custom:
        text += f", with {', '.join(custom)} registered"
    if unknown:
        text += f"; not known since when: {', '.join(unknown)}"
    return Runtime(TENSORFLOW_LITE, True, text)


def _client(name, model, uses, described):
    reason = _reason_against(name, model, uses, described)
    if reason:
        return Runtime(name, False, reason)
    client, _ = _CLIENTS[name][_output_names(described)[0]]
    return Runtime(name, True, client)


def _reason_against(name, model, uses, described):
    """Returns why a client library does not take the file, "" if it does."""
    graph = model.subgraphs[0]
    if not described:
        return "the file has no metadata"
    units = described["subgraph_metadata"][0].get("input_process_units", [])
    options = [unit.get("options_type") for unit in units]
    if metadata_schema.BERT_TOKENIZER_OPTIONS not in options:
        return "the metadata ask for no tokenizer of its own"
    output = _output_names(described)[0]
    if output not in _CLIENTS[name]:
        return f"it has no client for an output {output}"
    client, formats = _CLIENTS[name][output]
    inputs = [graph.tensors[i] for i in graph.inputs]
    if len(inputs) != _NUM_INPUTS or any(
        tensor.type != schema.TensorType.INT32 for tensor in inputs
    ):
        types = ", ".join(_TYPE_NAMES[tensor.type] for tensor in inputs)
        return f"it feeds {_NUM_INPUTS} INT32 inputs, the file takes {types}"
    length = int(inputs[0].shape[-1])
    if client == _QUESTION_ANSWERER and length != _QUESTION_LENGTH:
        return f"{client} feeds {_QUESTION_LENGTH} tokens, not {length}"
    for index in graph.outputs:
        kind = _TYPE_NAMES[graph.tensors[index].type]
        if kind not in formats:
            return f"{client} reads {' or '.join(formats)}, not {kind}"
    custom = _custom_names(uses)
    if custom:
        return f"it does not register {', '.join(custom)}"
    release = _RELEASES[name]
    newer = sorted(
        {
            f"{use.name} version {max(use.stamped, use.needed)}"
            for use in uses
            if op_versions.comes_after(use, release)
        }
    )
    if newer:
        return f"its runtime is {release}, older than {', '.join(newer)}"
    if name == TASK_LIBRARY and _num_outside(model):
        return "its runtime does not find weights outside of the FlatBuffer"
    return ""


def _output_names(described):
    graph = described["subgraph_metadata"][0]
    return [tensor["name"] for tensor in graph["output_tensor_metadata"]]


def _stamps(uses):
    """Operators that older runtimes take for something else."""
    short = {}
    for use in uses:
        if use.stamped < use.needed:
            _, needed = short.get(use.name, (0, 0))
            short[use.name] = use.stamped, max(needed, use.needed)
    for name, (stamped, needed) in sorted(short.items()):
        # Kernels check the types that they are given, but not for how many
        # channels a weight has scales of its own.
        is_silent = name == "FULLY_CONNECTED" and needed == 12
        yield Finding(
            REFUSE if is_silent else WARNING,
            f"{name} says version {stamped} but needs {needed}: older runtimes "
            + ("load it and compute nonsense" if is_silent else "fail late"),
        )


def _custom_operators(uses):
    for name in _custom_names(uses):
        yield Finding(
            WARNING, f"custom operator {name}: only where it is registered"
        )


def _custom_names(uses):
    return sorted({use.custom_name for use in uses if use.custom_name})


def _weights_outside(model):
    count = _num_outside(model)
    if count:
        yield Finding(
            WARNING,
            f"{count} weights lie outside of the FlatBuffer, where old "
            "runtimes do not look",
        )


def _num_outside(model):
    # 0 and 1 stand for weights inside.
    return sum(buffer.offset > 1 for buffer in model.buffers)


def _number_formats(model):
    types = collections.Counter()
    for graph in model.subgraphs:
        for operator in graph.operators:
            for index in operator.outputs:
                types[_TYPE_NAMES[graph.tensors[index].type]] += 1
    weights = {
        _TYPE_NAMES[tensor.type]
        for graph in model.subgraphs
        for tensor in graph.tensors
    }
    if types["INT16"]:
        yield Finding(
            WARNING,
            f"{types['INT16']} operators give INT16, which XNNPACK leaves to "
            "the reference kernels",
        )
    if "FLOAT16" in weights:
        yield Finding(
            INFO,
            "FLOAT16 weights become FLOAT32 at load: smaller on disk, neither "
            "faster nor smaller in memory",
        )
