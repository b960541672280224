"""The rows that `claims.py` leaves, and what is made of them: tables with paired differences, and a figure."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from claims_design import ARMS, CITIES, GROUPS, INCOMPLETE, MODALITIES, Group, modalities_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAILURES = (0.05, 0.1, 0.2)
FEWEST = 3
"""Pairs that an interval is told of."""
BEGIN, END = "<!-- claims: the table of experiments/results/claims.csv -->\n", "\n<!-- end of claims -->\n"
RARE = ("car", "clutter")
"""Classes of few pixels, whose IoU is written, too; clutter is not among those that mIoU is the mean of."""
COLUMNS = (
    *("city", "arm", "seed", "steps", "scenario", "miou", "parameters", "commit", "protocol"),
    *(f"iou_{name}" for name in RARE),
)
"""New ones at the end: a row that was written before is one without them."""


def read(results: Path) -> list[dict[str, str]]:
    """All rows there are."""
    if not results.is_file():
        return []
    with results.open(newline="") as file:
        return list(csv.DictReader(file))


def add(results: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Append the rows of a run at once, so that a run is there with all its scenarios or not at all."""
    from mobanet.files import write_text

    results.parent.mkdir(parents=True, exist_ok=True)
    new = not results.is_file()
    if not new:
        head, _, others = results.read_text().partition("\n")
        if head != ",".join(COLUMNS):  # of a time when there were fewer
            write_text(results, "\n".join([",".join(COLUMNS), others]))
    written = StringIO(newline="")
    writer = csv.DictWriter(written, COLUMNS, lineterminator="\n")
    if new:
        writer.writeheader()
    writer.writerows(rows)
    with results.open("a", newline="") as file:
        file.write(written.getvalue())


def figures(scenarios: dict[str, float], modalities: Sequence[str] = tuple(MODALITIES)) -> np.ndarray:
    """All sensors, mean of incomplete, worst, expected at each failure probability: in per cent."""
    from mobanet.evaluation.scenario_summary import expected_of
    from mobanet.scenarios.failure import usual_failures

    # in the order of `scenarios_of`, in which all sensors come last
    *incomplete, full = scenarios.values()
    expected = [expected_of(failure.weights(), scenarios) for failure in usual_failures(list(modalities))]
    return 100 * np.array([full, np.mean(incomplete), min(incomplete), *expected])


def regained(run: dict[str, float], full: dict[str, float], alone: dict[str, float]) -> float:
    """Of the gap between a model of all sensors and specialists, in per cent; the mean over incomplete scenarios."""
    return 100 * float(np.mean([(run[name] - full[name]) / (alone[name] - full[name]) for name in INCOMPLETE]))


def grouped(
    rows: Sequence[dict[str, str]], steps: int, group: Group, city: str
) -> tuple[dict[str, dict[int, np.ndarray]], bool]:
    """By arm and seed the `figures` of runs of so many steps, and whether a share of the gap is one of them.

    The gap is that of MoBaNet after so many steps, so that it is told in the group that has `uniform` only.
    """
    from mobanet.scenarios.scenario import scenarios_of

    order = [scenario.name for scenario in scenarios_of(modalities_of(city))]
    found: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    rare: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if int(row["steps"]) == steps and row["city"] == city:
            found[row["arm"]][int(row["seed"])][row["scenario"]] = float(row["miou"])
            if row["scenario"] == order[-1]:
                # rows from before there were these columns have nothing in them
                rare[row["arm"], int(row["seed"])] = [100 * float(row.get(f"iou_{name}") or "nan") for name in RARE]
    alone = {
        seed: {name: found[f"alone_{name}"][seed][name] for name in INCOMPLETE}
        for seed in set.intersection(*(set(found[f"alone_{name}"]) for name in INCOMPLETE))
        if seed in found["full"] and group.against == "uniform"
    }
    runs = {
        arm: {
            seed: np.append(
                [100 * run[order[-1]], *(rare[arm, seed] if group.rare else [])]
                if group.complete
                else figures({name: run[name] for name in order}, modalities_of(city)),
                # no column at all where no specialist was trained
                [regained(run, found["full"][seed], alone[seed]) if seed in alone else np.nan] * bool(alone),
            )
            for seed, run in seeds.items()
        }
        for arm, seeds in found.items()
        if seeds and arm in group.arms
    }
    return runs, bool(alone)


def all_tables(rows: Sequence[dict[str, str]], steps: int) -> str:
    """Those of runs of so many steps, and of groups that were compared in shorter or longer ones."""
    there = {(row["city"], row["arm"], int(row["steps"])) for row in rows}
    shown = [tables(rows, steps)]
    for other in sorted({number for *_, number in there} - {steps}):
        compared = [
            name
            for name, group in GROUPS.items()
            # some seeds of an arm by itself say nothing that the tables above do not
            if any({(city, arm, other), (city, to, other)} <= there for city in CITIES for arm, to in group.pairs())
        ]
        shown.append(tables(rows, other, compared, f" in {other} steps rather than {steps}"))
    return "\n\n".join(filter(None, shown))


def tables(rows: Sequence[dict[str, str]], steps: int, groups: Sequence[str] = tuple(GROUPS), besides: str = "") -> str:
    """Of each city and group that has rows to compare, with a line that names them, and what besides, in Markdown."""
    there = {(row["city"], row["arm"]) for row in rows if int(row["steps"]) == steps}
    return "\n\n".join(
        f"**{GROUPS[group].title}{besides}**; city `{city}`: {words}\n\n{table(rows, steps, group, city)}"
        for group in groups
        if GROUPS[group].title
        for city, words in CITIES.items()
        if any((city, arm) in there for arm, _ in GROUPS[group].pairs())
    )


def table(rows: Sequence[dict[str, str]], steps: int, group: str = "sampling", city: str = "ambiguous") -> str:
    """Means over seeds and paired differences of one group of arms in one city, in Markdown."""
    runs, gaps = grouped(rows, steps, GROUPS[group], city)
    partners = dict(GROUPS[group].pairs())
    heads = ["all sensors"]
    if not GROUPS[group].complete:
        heads += ["mean of incomplete", "worst", *(f"expected at {p:g}" for p in FAILURES)]
    heads += [f"IoU of {name}" for name in RARE] * GROUPS[group].rare
    heads += ["gap regained"] * gaps
    lines = [" | ".join(["arm", "seeds", *heads]), " | ".join(["---"] * (2 + len(heads)))]
    for arm in (name for name in ARMS if name in runs):
        values = np.array([runs[arm][seed] for seed in sorted(runs[arm])])
        # NaN equals nothing, itself included
        cells = [f"{column[~np.isnan(column)].mean():.1f}" if (column == column).any() else "" for column in values.T]
        against = partners.get(arm)
        common = sorted(runs[arm].keys() & runs.get(against, {}).keys())
        if len(common) >= FEWEST:
            paired = np.array([runs[arm][seed] - runs[against][seed] for seed in common])
            cells = [f"{cell} ({one})" for cell, one in zip(cells, map(difference, paired.T), strict=True)]
        lines.append(" | ".join([f"{arm}: {ARMS[arm].words}", str(len(values)), *cells]))
    shown = "\n".join(f"| {line} |" for line in lines)
    return (
        f"{shown}\n\nmIoU in per cent, means over seeds; in brackets the paired difference to "
        f"{GROUPS[group].to or GROUPS[group].against}, 95 % interval."
    )


def frontier(rows: Sequence[dict[str, str]], steps: int, city: str = "ambiguous") -> "Figure":
    """What each way to train has with all sensors, and what it has left without some: a dot a seed, a mark a mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs, _ = grouped(rows, steps, GROUPS["sampling"], city)
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for number, arm in enumerate(name for name in ARMS if name in runs):
        values, colour = np.array(list(runs[arm].values())), f"C{number % 10}"
        axes.scatter(values[:, 0], values[:, 1], s=10, color=colour, alpha=0.5, linewidths=0)
        mean = values.mean(0)
        axes.scatter(mean[0], mean[1], s=46, color=colour, marker="D", edgecolors="white", label=arm, zorder=3)
    seeds = max((len(of) for of in runs.values()), default=0)
    axes.set_xlabel("mIoU % with all sensors")
    axes.set_ylabel("mIoU %, mean of incomplete scenarios")
    axes.set_title(f"{steps} steps each, up to {seeds} seed{'s' * (seeds != 1)} an arm", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.7)
    axes.set_axisbelow(True)
    figure.legend(fontsize=8, frameon=False, loc="outside right center")
    return figure


def difference(paired: np.ndarray) -> str:
    """A mean with its bootstrap interval, and a word where that holds 0."""
    paired = paired[~np.isnan(paired)]
    if len(paired) < FEWEST:
        return "too few"
    # the same draws each time, so that a table changes with its rows alone
    draws = np.random.default_rng(0).integers(len(paired), size=(10_000, len(paired)))
    low, high = np.percentile(paired[draws].mean(1), (2.5, 97.5))
    undecided = ", undecided" if low <= 0 <= high else ""
    return f"{paired.mean():+.1f}, {low:+.1f} to {high:+.1f}{undecided}"


def with_table(text: str, shown: str) -> str:
    """A text with another table between its two comments."""
    before, behind = text.split(BEGIN)
    return f"{before}{BEGIN}\n{shown}\n{END}{behind.split(END)[1]}"
