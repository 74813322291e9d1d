"""Delegates: what may run a model, the tool's flags for it, and its proof.

A delegate that cannot run a model leaves it to the CPU, and the tool still
ends with status 0. A measurement with a delegate is therefore believed only
if the tool says that the delegate was applied; what it left to the CPU is
noted with the result.
"""

import dataclasses
import os
from collections.abc import Sequence

from android_benchmark import tool_lines
from android_benchmark import tool_output

XNNPACK = "xnnpack"
BUILTIN = "builtin"
GPU = "gpu"
NNAPI = "nnapi"
_EXTERNAL = "external:"
# Android 15.
_NNAPI_DEPRECATED_SDK = 35


@dataclasses.dataclass(frozen=True)
class Delegate:
    """One way to run a model.

    Attributes:
        key: as configured: "xnnpack" (optimized CPU kernels), "builtin" (the
            interpreter's own CPU kernels), "gpu", "nnapi", or
            "external:FILE", a shared library of this computer.
        applied_name: what the tool calls it; None where nothing is applied.
        flags: for the tool; an external library's path is not among them.
        library: file of an external delegate, else None.
    """

    key: str
    applied_name: str | None
    flags: tuple[str, ...]
    library: str | None = None

    @property
    def on_cpu(self) -> bool:
        """Whether it runs on the CPU, so that threads and cores matter."""
        return self.key in (XNNPACK, BUILTIN)


# Builds differ in whether XNNPACK is the default, so it is always named.
# NNAPI's own CPU path would be measured in place of an accelerator.
_KNOWN = {
    XNNPACK: Delegate(XNNPACK, "XNNPACK", ("--use_xnnpack=true",)),
    BUILTIN: Delegate(BUILTIN, None, ("--use_xnnpack=false",)),
    GPU: Delegate(GPU, "GPU", ("--use_gpu=true", "--use_xnnpack=false")),
    NNAPI: Delegate(
        NNAPI,
        "NNAPI",
        (
            "--use_nnapi=true",
            "--disable_nnapi_cpu=true",
            "--use_xnnpack=false",
        ),
    ),
}


def parse(key: str) -> Delegate:
    """Returns the delegate of a key.

    Raises:
        ValueError: if it is unknown.
    """
    if key in _KNOWN:
        return _KNOWN[key]
    library = key.removeprefix(_EXTERNAL)
    if library == key or not library:
        raise ValueError(
            f"delegates: expected {', '.join(_KNOWN)} or {_EXTERNAL}FILE, got "
            f"{key!r}"
        )
    return Delegate(
        key=f"{_EXTERNAL}{os.path.basename(library)}",
        applied_name="EXTERNAL",
        flags=("--use_xnnpack=false",),
        library=library,
    )


def check_applied(
    delegate: Delegate, delegations: Sequence[tool_output.Delegation]
) -> list[str]:
    """Returns what to note about a run with the delegate.

    Args:
        delegate: what was asked for.
        delegations: what the tool says was applied.

    Raises:
        tool_lines.BenchmarkOutputError: if it was not applied, or another.
    """
    applied = [d.name for d in delegations]
    expected = [delegate.applied_name] if delegate.applied_name else []
    if [name.upper() for name in applied] != expected:
        raise tool_lines.BenchmarkOutputError(
            f"delegate {delegate.key}: the tool did not say that it was "
            f"applied (it names {', '.join(applied) or 'none'}): the CPU may "
            "have run the model instead; try a build of benchmark_model with "
            "this delegate, or leave it out of --delegates"
        )
    if not delegate.on_cpu and not delegations[0].complete:
        kernels = delegations[0].kernels
        return [
            f"{delegate.key} took a part of the graph only ({kernels} "
            "kernels): the rest ran on the CPU"
        ]
    return []


def device_notes(delegate: Delegate, sdk: str) -> list[str]:
    """Returns what to note about a delegate on a device.

    Args:
        delegate: what is measured.
        sdk: the device's API level as it says itself.
    """
    if delegate.key != NNAPI:
        return []
    if sdk.isdecimal() and int(sdk) >= _NNAPI_DEPRECATED_SDK:
        return [f"NNAPI is deprecated on this device (Android 15+, SDK {sdk})"]
    return ["NNAPI is deprecated from Android 15: not for new work"]
