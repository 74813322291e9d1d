"""Pictures of what a student has learned from its teacher, block by block."""

import io
import json
import os
from collections.abc import Collection

import numpy as np
import tensorflow as tf
from matplotlib import colors
from matplotlib import figure as figure_lib
from matplotlib import patches
from matplotlib import ticker

from mobilebert_tf import files
from mobilebert_tf.distillation import divergence as divergence_lib

FOLDER = "pictures"

_MAX_MAPS = 4
_LEARNING, _OTHER, _HEAD = "#c4561e", "#3d6fb4", "#1b1b1f"


def write(
    divergence: divergence_lib.Divergence,
    model_dir: str,
    stage_name: str,
    step: int,
    learning: Collection[int],
    summary_writer: tf.summary.SummaryWriter,
) -> None:
    """Writes pictures/divergence-STEP.png and .json, and to TensorBoard.

    Args:
        divergence: what to show.
        model_dir: folder of the run.
        stage_name: the stage of the run.
        step: global step.
        learning: the student's blocks with transfer losses in the stage.
        summary_writer: of TensorBoard's validation scalars.
    """
    title = (
        f"Student beside teacher at step {step:,}, stage {stage_name}: "
        f"{divergence.num_examples} validation examples, "
        f"{divergence.num_tokens:,} tokens"
    )
    stream = io.BytesIO()
    draw(divergence, title, learning).savefig(stream, format="png")
    path = os.path.join(model_dir, FOLDER, f"divergence-{step}")
    files.write_bytes(f"{path}.png", stream.getvalue())
    numbers = {"stage": stage_name, "step": step, **divergence.to_dict()}
    files.write_text(f"{path}.json", json.dumps(numbers, indent=2) + "\n")
    with summary_writer.as_default(step=step):
        image = tf.io.decode_png(stream.getvalue(), channels=3)
        tf.summary.image("divergence", image[tf.newaxis])
        for block in divergence.blocks:
            for name in (
                "attention_kl",
                "feature_map_error",
                "feature_map_cosine",
            ):
                tf.summary.scalar(
                    f"{name}/block_{block.student_block}", getattr(block, name)
                )
        summary_writer.flush()


def draw(
    divergence: divergence_lib.Divergence,
    title: str,
    learning: Collection[int] = (),
) -> figure_lib.Figure:
    """Returns the picture.

    From above: numbers of each block; attention maps of the first example in
    up to four blocks, of the head that differs most; cosine of each token's
    vectors.

    Args:
        divergence: what to show.
        title: of the whole picture.
        learning: blocks to mark.
    """
    figure = figure_lib.Figure(figsize=(13, 12.5), dpi=100)
    figure.suptitle(title, fontsize=13, x=0.06, ha="left")
    top, middle, bottom = figure.add_gridspec(
        3,
        1,
        height_ratios=[1.0, 2.1, _heat_height(len(divergence.blocks))],
        hspace=0.28,
        left=0.06,
        right=0.95,
        top=0.92,
        bottom=0.05,
    )
    _draw_numbers(figure, top, divergence.blocks, learning)
    _draw_maps(figure, middle, divergence)
    _draw_cosines(figure, bottom, divergence)
    return figure


def _draw_numbers(figure, place, blocks, learning):
    kl, error, cosine = place.subgridspec(1, 3, wspace=0.22).subplots()
    x = [block.student_block for block in blocks]
    shades = [_LEARNING if block in learning else _OTHER for block in x]
    kl.bar(x, [block.attention_kl for block in blocks], color=shades)
    heads = len(blocks[0].attention_kl_per_head)
    kl.plot(
        np.repeat(x, heads),
        np.concatenate([block.attention_kl_per_head for block in blocks]),
        "_",
        color=_HEAD,
        markersize=7,
    )
    # At a fixed height: an exponent on the axis would lift it.
    kl.set_title("Attention: KL(teacher || student)", y=1.0)
    kl.set_ylabel("nats")
    values = [block.feature_map_error for block in blocks]
    error.bar(x, values, color=shades)
    mean = error.axhline(
        1.0,
        color="#77777f",
        linewidth=1,
        linestyle="--",
        label="as wrong as the teacher's mean",
    )
    if min(values) > 0 and max(values) > 20 * min(values):
        error.set_yscale("log")
        error.set_ylim(bottom=min(*values, 1.0) / 2)
    error.set_title("Feature map: squared error / variance")
    error.set_ylabel("ratio")
    cosine.bar(x, [block.feature_map_cosine for block in blocks], color=shades)
    cosine.set_ylim(
        min(0.0, *(block.feature_map_cosine for block in blocks)), 1.0
    )
    cosine.set_title("Feature map: cosine with the teacher's")
    cosine.set_ylabel("cosine")
    for axes in (kl, error, cosine):
        axes.set_xlabel("block of the student")
        axes.set_xlim(-0.6, max(len(blocks), 4) - 0.4)
        axes.set_xticks(_block_ticks(blocks))
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        handles=[
            patches.Patch(color=_LEARNING, label="with transfer losses now"),
            patches.Patch(color=_OTHER, label="without them"),
            *kl.plot([], [], "_", color=_HEAD, label="a single head"),
            mean,
        ],
        loc="upper left",
        bbox_to_anchor=(0.055, 0.972),
        ncols=4,
        frameon=False,
    )


def _draw_maps(figure, place, divergence):
    grid = place.subgridspec(1, _MAX_MAPS, wspace=0.32)
    for column, index in enumerate(_spread(len(divergence.blocks))):
        block = divergence.blocks[index]
        head = int(np.argmax(np.nan_to_num(block.attention_kl_per_head)))
        maps = (
            divergence.teacher_attention[index, head],
            divergence.student_attention[index, head],
        )
        cells = grid[column].subgridspec(
            2, 2, width_ratios=[1, 0.05], wspace=0.06, hspace=0.1
        )
        # Of a long row only a few weights are large: roots show the others.
        norm = colors.PowerNorm(0.5, 0.0, max(np.nanmax(maps), 1e-9))
        for row, (values, name) in enumerate(
            zip(maps, ("TEACHER", "STUDENT"), strict=True)
        ):
            axes = figure.add_subplot(cells[row, 0])
            image = axes.imshow(
                values, norm=norm, cmap="magma", interpolation="nearest"
            )
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(ticker.MaxNLocator(5, integer=True))
            if row == 0:
                axes.set_title(
                    f"block {block.student_block} from "
                    f"{block.teacher_block}, head {head}: "
                    f"KL {block.attention_kl_per_head[head]:.2g}",
                    fontsize=9,
                )
                axes.tick_params(labelbottom=False)
            else:
                axes.set_xlabel("attended token")
            if column == 0:
                axes.set_ylabel(f"{name}\nattending token")
        bar = figure.colorbar(image, cax=figure.add_subplot(cells[:, 1]))
        bar.ax.tick_params(labelsize=7, pad=1)
    bar.set_label("attention weight")


def _draw_cosines(figure, place, divergence):
    axes = figure.add_subplot(place)
    cosines = divergence.cosines
    image = axes.imshow(
        cosines,
        aspect="auto",
        vmin=min(0.0, np.nanmin(cosines)),
        vmax=1.0,
        cmap="viridis",
        interpolation="nearest",
    )
    axes.set_title("Feature maps of the first example: cosine per token")
    axes.set_xlabel("token")
    axes.set_ylabel("block of the student")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(16, integer=True))
    axes.set_yticks(_block_ticks(divergence.blocks))
    figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01, label="cosine")


def _block_ticks(blocks):
    return range(0, len(blocks), 1 + len(blocks) // 13)


def _heat_height(num_blocks):
    return 0.35 + 0.65 * min(num_blocks, 24) / 24


def _spread(num_blocks):
    """Up to _MAX_MAPS blocks, the first and the last among them."""
    return np.unique(
        np.linspace(0, num_blocks - 1, min(num_blocks, _MAX_MAPS)).round()
    ).astype(int)
