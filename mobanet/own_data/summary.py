"""What was found and chosen, in a few lines for the terminal."""

from mobanet.own_data.written import ExperimentPlan, said_of
from mobanet.plain.wording import shorten

_MOST = 12
"""Classes that are listed."""


def summary(plan: ExperimentPlan) -> str:
    """The lines, ending with the commands to type next."""
    lines = []
    for look in plan.looks:
        lines.append(f"{look.name:<12}{plan.patterns[look.name]}: {look.words}")
        lines += [f"{'':<12}{note}" for note in look.notes]
    labels = plan.labels
    by = f", attribute {labels.attribute}" if labels.attribute else ""
    lines.append(f"{'labels':<12}{plan.label}{by}: {len(labels.names)} classes")
    lines += [f"{'':<12}{note}" for note in labels.notes]
    for each in labels.found[:_MOST]:
        lines.append(f"{'':<12}{each.name}: {said_of(each, labels)}")
    if (more := len(labels.found) - _MOST) > 0:
        lines.append(f"{'':<12}and {more} more, in the file")
    lines.append(f"{'splits':<12}{_splits(plan)}")
    if plan.lacking:
        lines.append(f"{'missing':<12}{plan.lacking}; tiles are used without (allow_missing)")
    recipe = plan.recipe
    crop, batch, steps = (recipe.data[key].value for key in ("crop", "batch_size", "steps_per_epoch"))
    lines.append(
        f"{'recipe':<12}{recipe.model['backbone'].value['name']}, crops of {crop}, {batch} a step, {steps} steps an "
        f"epoch, {recipe.trainer['max_epochs'].value} epochs"
    )
    lines.append(f"{plan.output} is written; look at it, and go on with:")
    return "\n".join([*lines, *(f"  {command}" for command in plan.commands)])


def _splits(plan: ExperimentPlan) -> str:
    if plan.splits:
        return ", ".join(f"{part} {len(tiles)} ({shorten(tiles, 3)})" for part, tiles in plan.splits.items())
    size = f"in tiles of {plan.tiling['size']} pixels" if plan.tiling else ""
    if plan.areas is not None:
        return f"{size}, by the polygons of {plan.areas['vector']}"
    assert plan.blocks is not None  # what a plan has that names neither tiles nor areas
    return f"{size}, {plan.blocks['validation']:.0%} drawn for validation and {plan.blocks['test']:.0%} for test"
