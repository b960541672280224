"""The experiment as a YAML file with a comment beside everything that was chosen."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from textwrap import wrap
from typing import Any

from mobanet.datasets.folder_words import as_words
from mobanet.own_data.classes import FoundClass, LabelLook
from mobanet.own_data.looks import ModalityLook, kept_ratio
from mobanet.own_data.recipe import Chosen, TrainingRecipe

_WIDTH = 118
_COLUMN = 46
"""Where comments begin, if there is room."""


@dataclass(frozen=True)
class ExperimentPlan:
    """Everything that goes into the file.

    Attributes:
        root: of the data, as it is written.
        store: of prepared tiles; None for inside the root.
        looks: of the modalities, the one that sets the grid first.
        patterns: of the modalities, below the root.
        label: pattern of the labels, below the root.
        splits: lists of tiles; empty where `areas` or `blocks` say it.
        tiling: how a mosaic is cut into tiles; None where rasters are tiles.
        areas: polygons that say which ground is for what.
        blocks: how tiles are drawn.
        buffer: pixels around held-out ground; None for none.
        crs: of rasters that name none.
        lacking: why tiles may lack a modality; empty where none does.
    """

    output: Path
    root: str
    store: str | None
    looks: Sequence[ModalityLook]
    patterns: Mapping[str, str]
    label: str
    labels: LabelLook
    splits: Mapping[str, Sequence[str]]
    recipe: TrainingRecipe
    tiling: Mapping[str, Any] | None = None
    areas: Mapping[str, Any] | None = None
    blocks: Mapping[str, Any] | None = None
    buffer: Chosen | None = None
    crs: str | None = None
    lacking: str = ""

    @property
    def commands(self) -> list[str]:
        """What to type next."""
        run, file = quote(f"runs/{self.output.stem}"), quote(str(self.output))
        tile = next(iter(self.splits.get("test", ())), next(iter(self.looks[0].found.files)))
        there = [look for look in self.looks if tile in look.found.files or not look.found.tiled]
        paths = {each.name: Path(self.root) / self.patterns[each.name].replace("{tile}", tile) for each in there}
        inputs = " ".join(quote(f"{name}={path}") for name, path in paths.items())
        tested = self.areas is None or "test" in self.areas["values"].values()
        return [
            f"python -m mobanet.check --experiment {file}",
            f"python -m mobanet.fit --experiment {file} --run {run}",
            *([f"python -m mobanet.test --ckpt_path {run}"] if tested else []),
            f"python -m mobanet.predict --ckpt_path {run} --input {inputs} --output {quote(self.output.stem + '.tif')}",
        ]


def experiment_text(plan: ExperimentPlan) -> str:
    """The file's content."""
    recipe = plan.recipe
    out = [*_head(plan), "seed_everything: 42", "", "trainer:"]
    out += _settings(recipe.trainer, 2)
    out += ["", "float32_matmul_precision: high", "", "data:", "  layout: folder"]
    out.append(
        _line(2, "root", plan.root, "" if plan.root.startswith("/") else "from the folder that commands start in")
    )
    if plan.store is not None:
        out.append(_line(2, "store", plan.store, "of prepared tiles, since the root cannot be written to"))
    if plan.lacking:
        out.append(_line(2, "allow_missing", True, plan.lacking))
    out += ["  folder:", *_folder(plan)]
    scaling = {look.name: {"optical": "unit", "elevation": "ground"}.get(look.kind, "standard") for look in plan.looks}
    said = {"unit": "unit divides by the full range", "ground": "ground takes heights above the ground", "standard": ""}
    why = "; ".join(dict.fromkeys(said[how] for how in scaling.values() if said[how]))
    out.append(_line(2, "modalities", [look.name for look in plan.looks], "fewer are fewer sensors"))
    out.append(_line(2, "scaling", scaling, why))
    out += _settings(recipe.data, 2)
    out += ["", _line(0, "scenarios", recipe.scenarios.value, recipe.scenarios.why), "", "model:"]
    out += _settings(recipe.model, 2)
    return "\n".join(out) + "\n"


def _head(plan: ExperimentPlan) -> Iterable[str]:
    names = ", ".join(look.name for look in plan.looks)
    yield _comment(
        f"{plan.output.stem}: {len(plan.labels.names)} classes from {names}, written by python -m mobanet.init."
    )
    yield "#"
    yield from (_comment(f"  {command}") for command in plan.commands)
    yield "#"
    yield _comment(f"Settings are those of the recipe {plan.recipe.base} where no comment says why they differ.")


def _folder(plan: ExperimentPlan) -> Iterable[str]:
    yield "    modalities:" + (
        "  # the first one's grid is what the others are brought to" if len(plan.looks) > 1 else ""
    )
    for look in plan.looks:
        ratio = kept_ratio(look, plan.looks[0], plan.recipe.data["crop"].value)
        yield from _modality(look, plan.patterns[look.name], ratio)
    if plan.crs is not None:
        yield _line(4, "crs", plan.crs, "of rasters that name none")
    yield from _labels(plan)
    if plan.tiling is not None:
        yield _line(4, "tiling", plan.tiling, "rasters are cut into tiles of about so many pixels, called r0_c0 …")
    yield from _splits(plan)


def _modality(look: ModalityLook, pattern: str, ratio: int) -> Iterable[str]:
    settings: dict[str, Any] = {"pattern": pattern}
    if look.bands is not None:
        # from 1, as GDAL and QGIS count
        settings["band_numbers"] = [band + 1 for band in look.bands]
    if look.names is not None:
        settings["names"] = list(look.names)
    if look.kind != "optical":
        settings["kind"] = look.kind
    if look.unit:
        settings["unit"] = look.unit
    if ratio > 1:
        settings["pixel_ratio"] = ratio
    yield f"      {_comment(look.words)}"
    if ratio > 1:
        yield f"      {_comment(f'pixels {ratio} times as wide as those of the grid: kept, and not resampled to it')}"
    for note in look.notes:
        yield f"      {_comment(note)}"
    yield f"      {_word(look.name)}: {_word(settings)}"


def _labels(plan: ExperimentPlan) -> Iterable[str]:
    labels = plan.labels
    for note in labels.notes:
        yield f"    {_comment(note)}"
    if labels.kind == "polygons":
        yield "    label:"
        yield _line(6, "vector", plan.label, "")
        if labels.layer is not None:
            yield _line(6, "layer", labels.layer, "")
        if labels.crs is not None:
            yield _line(6, "crs", labels.crs, "of the file, which names none")
        yield _line(6, "attribute", labels.attribute, "that says what a polygon is")
        yield "      values:  # which value is which class, or ignored"
        for each in labels.found:
            yield _line(8, each.value, each.name, said_of(each, labels))
        free = f"about {100 * labels.unlabelled:.2g} % of the ground has no class"
        if labels.background is None:
            yield _line(6, "background", "ignored", f"of ground under no polygon; {free}" if labels.unlabelled else "")
        else:
            yield _line(6, "background", labels.background, f"{free}: there is but one class of polygons")
        yield from _list(4, "classes", labels.names)
        yield from _colours(labels, "in pictures and maps")
        return
    yield _line(4, "label", plan.label, "")
    yield "    classes:"
    classes = [each for each in labels.found if not each.ignored]
    for each in classes:
        yield _beside(f"      - {_word(each.name)}", said_of(each, labels))
    if labels.kind == "numbers":
        values = {each.value: index for index, each in enumerate(classes)}
        yield _line(4, "values", values, "number in the raster: class, counted from 0")
        ignored = [each for each in labels.found if each.ignored]
        if ignored:
            said = ", ".join(f"{each.value}: {said_of(each, labels)}" for each in ignored)
            yield _line(4, "ignored", [each.value for each in ignored], said)
        yield from _colours(labels, "in pictures and maps")
        return
    yield from _colours(labels, "in the labels")
    for each in labels.found:
        if each.ignored:  # which black alone is
            yield _line(4, "ignored_colours", [list(each.value)], said_of(each, labels))


def _colours(labels: LabelLook, where: str) -> Iterable[str]:
    yield f"    # red, green and blue {where}"
    yield from _list(4, "colours", [list(colour) for colour in labels.colours])


def said_of(each: FoundClass, labels: LabelLook) -> str:
    """How often a class occurs, and what else is to be said of it."""
    what = labels.what.removesuffix("s") if each.count == 1 else labels.what
    parts = [f"{'about ' if labels.sampled else ''}{each.count} {what}"]
    if each.share is not None:
        parts.append(f"{100 * each.share:.3g} % of the labelled ground")
    return ", ".join([*parts, *([each.note] if each.note else [])])


def _splits(plan: ExperimentPlan) -> Iterable[str]:
    if plan.areas is not None:
        yield "    splits:"
        yield _line(6, "areas", plan.areas, "" if len(plan.commands) == 4 else "none of them for test")
    elif plan.blocks is not None:
        yield "    splits:"
        yield _line(6, "blocks", plan.blocks, "tiles drawn; or polygons say which ground is for what, with --areas")
    else:
        yield "    splits:  # drawn at random; tiles that lie together tell more if they are in one list"
        for part, tiles in plan.splits.items():
            yield from _list(6, part, tiles)
    if plan.buffer is not None:
        yield _line(6, "buffer", plan.buffer.value, plan.buffer.why)


def _settings(chosen: Mapping[str, Chosen], indent: int) -> Iterable[str]:
    for key, each in chosen.items():
        if isinstance(each.value, Mapping) and indent + len(f"{_word(key)}: {_word(each.value)}") > _WIDTH:
            yield _beside(f"{' ' * indent}{_word(key)}:", each.why)
            yield from (_line(indent + 2, name, value, "") for name, value in each.value.items())
        else:
            yield _line(indent, key, each.value, each.why)


def _list(indent: int, key: str, items: Sequence[Any]) -> Iterable[str]:
    """A list in brackets, over several lines where it is long."""
    line = f"{' ' * indent}{key}: ["
    for number, item in enumerate(items):
        text = _word(item) + (", " if number < len(items) - 1 else "]")
        if len(line) + len(text) > _WIDTH and not line.endswith("["):
            yield line.rstrip()
            line = " " * (indent + 2)
        line += text
    yield line if items else f"{line}]"


def _line(indent: int, key: Any, value: Any, why: str) -> str:
    return _beside(f"{' ' * indent}{_word(key)}: {_word(value)}", why)


def _beside(text: str, why: str) -> str:
    """A line with its comment, which stands above it where there is no room."""
    if not why:
        return text
    line = f"{text:<{_COLUMN}}  {_comment(why)}"
    if len(line) <= _WIDTH:
        return line
    indent = " " * (len(text) - len(text.lstrip()))
    # neither names nor options are broken, as they are there to be copied
    above = wrap(
        _comment(why).removeprefix("# "), _WIDTH - 2 - len(indent), break_long_words=False, break_on_hyphens=False
    )
    return "\n".join([*(f"{indent}# {part}" for part in above), text])


def _comment(text: str) -> str:
    """A line of comment, whatever names the text holds."""
    plain = text.replace("\n", " ")
    # a line break out of a file's name would end the comment, and what follows it would count
    return "# " + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in plain)


def _word(value: Any) -> str:
    if isinstance(value, str) and not value.isprintable():
        return json.dumps(value, ensure_ascii=False)  # on one line
    return as_words(value)
