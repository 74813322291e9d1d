"""Accuracy of the measured files, from the report of the export."""

import dataclasses
import json
import os
from collections.abc import Sequence

from android_benchmark import model_file
from mobilebert_tf import files


@dataclasses.dataclass(frozen=True)
class ExportedAccuracy:
    """What the export measured of its files.

    Attributes:
        metric: name of the figure, e.g. "accuracy".
        values: by the path of the file.
    """

    metric: str
    values: dict[str, float]


def read(path: str, models: Sequence[model_file.ModelFile]) -> ExportedAccuracy:
    """Returns the first metric of those models that the export has made.

    Args:
        path: report.json of export/to_tflite.py.
        models: that are measured; told by name and size, as a name alone may
            be of another export.

    Raises:
        ValueError: if the file is no such report, or of none of the models.
    """
    files.require_file(path, "export_report")
    try:
        report = json.loads(files.read_bytes(path))
        variants = {
            (variant["file"], variant["bytes"]): variant["metrics"]
            for variant in report["variants"]
            if "metrics" in variant
        }
        found = {}
        for model in models:
            key = os.path.basename(model.path), model.size_bytes
            if key in variants:
                found[model.path] = next(iter(variants[key].items()))
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise ValueError(
            f"--export_report={path}: expected report.json of "
            f"export/to_tflite.py, got {error!r}"
        ) from error
    if not found:
        raise ValueError(
            f"--export_report={path}: none of its files has the name and size "
            "of a model that is measured"
        )
    metric = next(iter(found.values()))[0]
    return ExportedAccuracy(
        metric,
        {
            file: value
            for file, (name, value) in found.items()
            if name == metric
        },
    )
