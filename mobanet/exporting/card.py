"""The model card: what a model is, what it was measured to do, and under which terms, from facts alone."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from huggingface_hub import ModelCardData

import mobanet
from mobanet.data.scaling import learnt_radius, tile_offset_scale
from mobanet.datasets.scalings import Scaling
from mobanet.evaluation.scenario_table import ScenarioResults
from mobanet.evaluation.temperature import temperature_words
from mobanet.exporting.card_figures import eval_results, figure_section
from mobanet.exporting.citation import CBC_NUMBERS, papers_of
from mobanet.exporting.markdown import table
from mobanet.exporting.run_facts import Figures, RunFacts
from mobanet.exporting.terms import published, weight_terms
from mobanet.models.summary import count_parameters
from mobanet.rasters.contents import Modality
from mobanet.training.module import SegmentationModule

_NAMELESS = "PATH_OR_REPOSITORY"


def model_card(
    module: SegmentationModule,
    learnt: Mapping[str, np.ndarray],
    facts: RunFacts | None = None,
    windows: Mapping[str, int] | None = None,
    left_out: bool = False,
    licence: str | None = None,
    name: str | None = None,
) -> str:
    """The text of README.md.

    Args:
        module: of the model.
        learnt: by modality, (2, C), the numbers that it scales by.
        facts: of its run; None where nothing more is known.
        windows: `size` and `stride` of its evaluation in pixels.
        left_out: whether the folder does without the backbone's published weights.
        licence: of the model, as the hub abbreviates it; None where its owner has not said.
        name: of the repository on the hub or of the folder, for the lines that load it.
    """
    figures, name = facts.figures if facts else None, name or _NAMELESS
    sections = [
        _front_matter(module, licence, figures, name.rpartition("/")[2]),
        _introduction(module, facts),
        _inputs(module, learnt, windows),
        _classes(module),
        figure_section(figures),
        _training(module, facts),
        _parameters(module, left_out),
        _terms(module, licence),
        _limits(module, facts),
        _use(module, name),
        _citation(module, facts),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(module: SegmentationModule, licence: str | None, figures: Figures | None, name: str) -> str:
    terms: dict[str, Any] = dict(weight_terms(module.settings).hub)
    if licence:
        # the owner's own takes the place of the backbone's licence, of its name and of its link
        terms = {key: value for key, value in terms.items() if not key.startswith("license")} | {"license": licence}
    tags = ["remote-sensing", "earth-observation", "semantic-segmentation", "multimodal", "missing-modality"]
    # the layout's name stands for the data set, which has no name on the hub
    results = list(eval_results(figures, module.data.layout))
    data = ModelCardData(
        **terms,
        library_name="mobanet",
        pipeline_tag="image-segmentation",
        tags=[*tags, module.settings.title.lower()],
        eval_results=results or None,
        model_name=name if results else None,  # the hub's client asks for one where there are results
    )
    return f"---\n{data.to_yaml()}\n---"


def _introduction(module: SegmentationModule, facts: RunFacts | None) -> str:
    data, network = module.data, module.settings.title
    names = [modality.name for modality in data.modalities]
    stands_in = {"zero": "zeros after scaling", "token": "a learned token"}[module.settings.missing]
    title = f"# {network} on {data.layout}: {', '.join(names)}"
    text = (
        f"Semantic segmentation of remote-sensing rasters ({', '.join(names)}) into {len(data.classes)} classes with "
        f"{network}: {published(module.settings).described()}. Exported by mobanet {mobanet.__version__}."
    )
    if module.lora.rank:
        text += f" Its attention has low-rank additions (LoRA, rank {module.lora.rank})."
    if module.settings.uses_streams:
        streams = "; ".join(f"{stream}: {', '.join(members)}" for stream, members in module.streams.items())
        text += f" Streams: {streams}."
    if len(names) > 1:
        text += f" It takes any non-empty subset of its modalities; in place of a missing one stand {stands_in}."
    if module.settings.architecture == "mobanet" and module.settings.network.absent == "left_out":
        text += " A stream of which nothing is there has no part in prompts and fusion."
    return f"{title}\n\n{text}"


def _inputs(module: SegmentationModule, learnt: Mapping[str, np.ndarray], windows: Mapping[str, int] | None) -> str:
    rows = [
        (
            modality.name,
            modality.kind,
            ", ".join(modality.bands),
            modality.unit or "digital numbers",
            _scaling(modality, module.data.scaling[modality.name], learnt[modality.name]),
        )
        for modality in module.data.modalities
    ]
    text = "Values as stored in the rasters; a pixel that was not measured is NaN, and 0 after scaling."
    for name, how in module.data.scaling.items():
        if radius := learnt_radius(how, learnt[name]):
            text += f" Of {name} heights above the ground within {radius} pixels, as `model.heights` takes them."
    if windows:
        text += f" Evaluated in windows of {windows['size']} pixels at stride {windows['stride']}."
    return f"## Inputs\n\n{table(('modality', 'kind', 'bands', 'unit', 'scaling'), rows)}\n\n{text}"


def _scaling(modality: Modality, scaling: Scaling, learnt: np.ndarray) -> str:
    # without statistics of a tile: what is the same for all
    offset, scale = tile_offset_scale(scaling, learnt, None)
    return {
        "unit": f"divided by {_numbers(scale)}",
        "standard": f"less {_numbers(offset)}, divided by {_numbers(scale)}: mean and deviation of the training tiles",
        "ground": f"height above the ground around the pixel, divided by {_numbers(scale)}",
        "robust": f"less the median of the whole tile, divided by {_numbers(scale)}",
        "minmax": "the whole tile's minimum and maximum to 0 and 1",
    }[scaling]


def _numbers(values: np.ndarray) -> str:
    texts = [f"{value:.6g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else f"({', '.join(texts)})"


def _classes(module: SegmentationModule) -> str:
    classes = module.data.classes
    rows = [
        (index, name, "#" + "".join(f"{value:02x}" for value in colour), "yes" if name in classes.averaged else "no")
        for index, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True))
    ]
    return f"## Classes\n\n{table(('index', 'class', 'colour', 'in mean F1 and mIoU'), rows)}"


def _training(module: SegmentationModule, facts: RunFacts | None) -> str:
    rows = [("layout of the data", module.data.layout)]
    if facts is not None:
        rows = [("checkpoint", f"{facts.checkpoint}, epoch {facts.epochs}, {facts.steps} steps"), *rows]
        rows += [(label, value) for label, value in _run_rows(facts) if value is not None]
    rows += [
        ("masking of one stream (MCRM)", f"ratio {module.masking.ratio:g}"),
        ("loss, optimiser", f"{module.hparams['loss']}, {module.hparams['optimizer']}"),
        ("learning rate, weight decay", f"{module.lr:g}, {module.weight_decay:g}"),
    ]
    return f"## Training\n\n{table(('what', 'value'), rows)}"


def _run_rows(facts: RunFacts) -> Iterator[tuple[str, Any]]:
    yield "split", facts.get("data", "split")
    yield (
        "validation",
        {"holdout": "tiles held out of training", "test": "the test tiles"}.get(facts.get("data", "validation")),
    )
    yield "labels in training", facts.get("data", "train_labels")
    yield "crop, crops a step on a device", _both(facts.get("data", "crop"), facts.get("data", "batch_size"))
    yield "epochs planned", facts.get("trainer", "max_epochs")
    yield "precision", facts.precision or facts.get("trainer", "precision")
    yield "scenarios in training", facts.get("scenarios", "strategy")
    yield "seed", facts.get("seed_everything")


def _both(first: Any, second: Any) -> str | None:
    return None if first is None or second is None else f"{first} pixels, {second}"


def _parameters(module: SegmentationModule, left_out: bool) -> str:
    sizes = count_parameters(module.network)
    rows = [(size.part, f"{size.trainable:,}", f"{size.frozen:,}") for size in sizes]
    text = ""
    if left_out:
        text = (
            f"\n\n`model.safetensors` does without the frozen weights of the backbone, which are the published ones of "
            f"{module.settings.backbone.name}; they are fetched from the hub and checked by their fingerprint."
        )
    return f"## Parameters\n\n{table(('part', 'trained', 'frozen'), rows)}{text}"


def _terms(module: SegmentationModule, licence: str | None) -> str:
    own = f"The model is under {licence}." if licence else "Its owner has not named a licence for the trained weights."
    return f"## Licence\n\n{weight_terms(module.settings).text} {own} The code of mobanet is under the MIT licence."


def _limits(module: SegmentationModule, facts: RunFacts | None) -> str:
    data = module.data
    lines = [
        f"- Made for maps of the classes above from rasters with the modalities, bands and units above, like those of "
        f"{data.layout}. This card holds no figures of any other data.",
        "- Bands in another order, another unit or another range of digital numbers give numbers that the model has "
        "never seen; it does not notice.",
    ]
    if any(data.scaling[modality.name] in ("robust", "minmax") for modality in data.modalities):
        lines.append("- What is scaled tile by tile depends on the extent of the tile: measure it on the whole raster.")
    if facts is not None:
        if facts.get("data", "validation") == "test":
            lines.append("- Its checkpoint was chosen on the test tiles, so that figures of them are too high.")
        strategy = facts.get("scenarios", "strategy")
        if strategy == "full" and len(data.modalities) > 1:
            lines.append("- In training no modality was ever left out on purpose (strategy `full`).")
    if adapted := module.settings.network.scenario_statistics:
        lines.append(
            f"- Its normalisation has batch statistics of {', '.join(adapted)}, taken from training windows after "
            "training (`mobanet.adapt`); no weight has learnt of them."
        )
    if facts is not None and facts.figures is not None and not facts.figures.older:
        lines += _weakest(facts.figures.results)
    return "## Intended use and limits\n\n" + "\n".join(lines)


def _weakest(results: ScenarioResults) -> Iterator[str]:
    of_class = dict(zip(results.classes.names, results.scores[results.fullest].iou, strict=True))
    # NaN is that of a class that neither labels nor predictions of the test have
    ious = {name: of_class[name] for name in results.classes.averaged if not math.isnan(of_class[name])}
    if ious:
        lowest = min(ious, key=ious.__getitem__)
        yield f"- Its weakest class in {results.fullest} is {lowest}, IoU {100 * ious[lowest]:.1f} per cent."
    summary = results.summary()
    if len(results.scores) > 1 and summary.worst:
        yield f"- Its worst scenario is {summary.worst_name}, mIoU {100 * summary.worst.mean_iou:.1f} per cent."


def _use(module: SegmentationModule, name: str) -> str:
    names = [modality.name for modality in module.data.modalities]
    # what `predict` asks numbers of each tile for
    wise = [m for m in names if module.data.scaling[m] in ("robust", "minmax")]
    inputs = ", ".join(f'"{n}": {_variable(n)}' for n in names)
    lines = ["from mobanet import from_pretrained", "", f'model = from_pretrained("{name}")']
    raised = [m for m in names if module.data.scaling[m] == "ground"]
    for m in raised:
        lines.append(f'heights = model.heights("{m}", {_variable(m)}_raster)  # to cut {_variable(m)} from')
    offset_scale = ""
    if wise:
        given = ", ".join(f'"{n}": model.offset_scale("{n}", {_variable(n)}_raster)' for n in wise)
        offset_scale = f", offset_scale={{{given}}}"
    lines.append(f"logits = model.predict({{{inputs}}}{offset_scale})  # (B, {module.network.num_classes}, H, W)")
    tensors = "Tensors are (B, bands, H, W) with stored values; leave a modality out where it is missing."
    if wise or raised:
        tensors += " `…_raster` is the whole raster, an array (H, W, bands)."
    if known := module.known_temperatures:
        tensors += (
            "\n\nProbabilities are calibrated as softmax(logits / T) with the temperature of what a sample has "
            f"(`model.temperatures`): {temperature_words(known)}."
        )
    return "## Use\n\n```python\n" + "\n".join(lines) + f"\n```\n\n{tensors}"


def _variable(name: str) -> str:
    # so that the lines can be pasted: names of modalities may hold blanks and dashes
    return name if name.isidentifier() else "x"


def _citation(module: SegmentationModule, facts: RunFacts | None) -> str:
    architecture = module.settings.architecture
    strategy = None if facts is None else facts.get("scenarios", "strategy")
    entries = "\n\n".join(paper.bibtex() for paper in papers_of(architecture, strategy))
    if not entries:
        return f"## Citation\n\n{module.settings.title} is code of its own, with papers of its own."
    text = ""
    if architecture.startswith("cbc"):
        text = f"CBC and CBC-SLP: {' and '.join(f'arXiv {number}' for number in CBC_NUMBERS)}.\n\n"
    return f"## Citation\n\n{text}```bibtex\n{entries}\n```"
