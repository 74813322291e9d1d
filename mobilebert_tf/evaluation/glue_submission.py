"""Files that the GLUE server takes.

One per test set, under a name of its own, with a header and the columns
`index` (the row of the test file, from 0) and `prediction` (the text of the
label as in the training file, or a number for STS-B).
"""

import os
from collections.abc import Sequence

from absl import logging

from mobilebert_tf import files
from mobilebert_tf.data import glue_tasks

# (task, split): file name, rows of the official test set.
_FILES = {
    ("CoLA", glue_tasks.TEST): ("CoLA.tsv", 1063),
    ("SST-2", glue_tasks.TEST): ("SST-2.tsv", 1821),
    ("MRPC", glue_tasks.TEST): ("MRPC.tsv", 1725),
    ("STS-B", glue_tasks.TEST): ("STS-B.tsv", 1379),
    ("QQP", glue_tasks.TEST): ("QQP.tsv", 390965),
    ("MNLI", glue_tasks.TEST): ("MNLI-m.tsv", 9796),
    ("MNLI", glue_tasks.TEST_MISMATCHED): ("MNLI-mm.tsv", 9847),
    ("QNLI", glue_tasks.TEST): ("QNLI.tsv", 5463),
    ("RTE", glue_tasks.TEST): ("RTE.tsv", 3000),
    ("WNLI", glue_tasks.TEST): ("WNLI.tsv", 146),
    ("AX", glue_tasks.TEST): ("AX.tsv", 1104),
}


def write(
    task: glue_tasks.GlueTask,
    split: str,
    predictions: Sequence[str] | Sequence[float],
    output_dir: str,
) -> str | None:
    """Writes the predictions on a test set.

    Values of a regression are cut to its range, which the server expects,
    and have three decimals as the labels do.

    Args:
        task: whose test set it is.
        split: of the task.
        predictions: N texts of labels; of a regression N values.
        output_dir: folder of the file.

    Returns:
        The path; None for a split that the server does not take.

    Raises:
        ValueError: for a prediction that is none of the task's labels.
    """
    if (task.name, split) not in _FILES:
        return None
    file_name, num_rows = _FILES[task.name, split]
    if len(predictions) != num_rows:
        logging.warning(
            "%s: got %d predictions, but the official test set has %d rows: "
            "the server will refuse it",
            file_name,
            len(predictions),
            num_rows,
        )
    lines = ["index\tprediction"]
    for index, prediction in enumerate(predictions):
        lines.append(f"{index}\t{_text(task, prediction, file_name, index)}")
    path = os.path.join(output_dir, file_name)
    files.write_text(path, "\n".join(lines) + "\n")
    return path


def _text(task, prediction, file_name, index):
    if task.value_range is not None:
        low, high = task.value_range
        return f"{min(max(prediction, low), high):.3f}"
    if prediction not in task.labels:
        raise ValueError(
            f"{file_name}: prediction {index} is {prediction!r}, expected one "
            f"of {', '.join(task.labels)}"
        )
    return prediction
