"""Bars and sorted curves: how hard the images are, and with which shares the sides of the game mix."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from harness.publish.plots.style import NARROW, Theme, short_names
from harness.records import Role

BAR = 0.24
"""Inches of a bar and the gap below it."""


def difficulty_plot(theme: Theme, average: Sequence[float], best: Sequence[float]) -> Figure:
    """Shares of wrong answers of each image, each curve sorted for itself, the easiest image first."""
    figure = Figure(figsize=(7.2, 3.8))
    axes = figure.add_axes((0.09, 0.13, 0.88, 0.76))
    for values, role, line, label in (
        (best, Role.ATTACK, "--", "defenses that lose it to at least one attack"),
        (average, Role.DEFENSE, "-", "wrong answers, over all attacks and defenses"),
    ):
        heights = np.sort(values)
        axes.stairs(
            heights, np.linspace(0, 100, len(heights) + 1), baseline=None, color=theme.colours[role], linestyle=line,
            linewidth=1.8, label=label,
        )  # fmt: skip
    axes.set(xlabel="images, the easiest first (%)", ylabel="share (%)", xlim=(0, 100), ylim=(-0.02, 1.02))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}")
    axes.grid(linewidth=0.6)
    figure.legend(*axes.get_legend_handles_labels(), loc="upper center", ncols=2, handlelength=3)
    return figure


def game_plot(theme: Theme, attacks: Mapping[str, float], defenses: Mapping[str, float]) -> Figure:
    """The two mixtures, the largest share first; who has none is left out."""
    sides = [(Role.ATTACK, attacks, "attacks"), (Role.DEFENSE, defenses, "defenses")]
    used = [sorted(((share, name) for name, share in side.items() if share > 0), reverse=True) for _, side, _ in sides]
    height = 0.55 + BAR * max(map(len, used))
    figure = Figure(figsize=(8.6, height))
    for place, ((role, _, word), shares) in enumerate(zip(sides, used, strict=True)):
        tall = BAR * len(shares) / height
        axes = figure.add_axes((0.23 + 0.5 * place, 1 - 0.2 / height - tall, 0.23, tall))
        numbers = [share for share, _ in shares]
        bars = axes.barh(range(len(shares)), numbers, height=0.7, color=theme.colours[role])
        axes.bar_label(bars, [f"{100 * share:.0f} %" for share in numbers], padding=3, size=8)
        axes.set_yticks(range(len(shares)), short_names([name for _, name in shares], NARROW))
        axes.set(ylim=(len(shares) - 0.5, -0.5), xlim=(0, 1.15), xticks=[], xlabel=f"share of play, {word}")
        axes.tick_params(axis="y", length=0)
        axes.spines["bottom"].set_visible(False)
    return figure
