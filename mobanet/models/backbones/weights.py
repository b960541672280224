"""Making a timm transformer and filling it: names, downloads, local files, and what their licences are."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from mobanet.errors import SettingError, UserError
from mobanet.models.backbones.families import FAMILIES, MODULES, WORKING, Family
from mobanet.models.backbones.options import check_options
from mobanet.models.backbones.stages import BackboneSettings
from mobanet.plain.hub import hub_file
from mobanet.plain.wording import name_differences, nearest

WEIGHTS_REMEDY = (
    "give a local file with `backbone.checkpoint` FILE, or start from random weights with `backbone.pretrained` false"
)
Refused = Callable[[str], UserError]
"""Makes an error of what is wrong with a file, the rest of a sentence."""

LICENCES = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "dinov3-license": "DINOv3 License (its own terms: https://ai.meta.com/resources/models-and-libraries/dinov3-license/)",
}


def known_models() -> ModuleType:
    """timm, with our own backbone among its models."""
    import timm

    # here and not above: what needs no network starts without timm (tests/unit/test_package.py)
    import mobanet.models.backbones.city_vit  # noqa: F401 - registers its name

    return timm


def licence(name: str) -> str:
    """The licence of a backbone's published weights, as timm's data sheet states it.

    Args:
        name: timm name, as in `BackboneSettings.name`.
    """
    # else timm raises for an architecture that it has no data sheet of
    config = known_models().get_pretrained_cfg(name, allow_unregistered=True)
    stated = config.license if config is not None else None
    return LICENCES.get(stated, stated) if stated else "not stated by timm: see the page of the weights"


def create_vit(settings: BackboneSettings) -> nn.Module:
    """A timm model with random weights that takes any image size and has no classifier.

    Raises:
        UserError: for an unknown or unsupported name and for options that do not fit it.
    """
    name = settings.name
    module = _find_module(name)
    check_options(settings.options)  # a dict that may have changed since it was looked at first
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.options.items()}
    arguments = {**MODULES[module].extra(), **options}
    try:
        vit = known_models().create_model(name, pretrained=False, num_classes=0, **arguments)
    # what timm's constructors raise on sizes that do not fit, each class in its own way
    except (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError, IndexError) as error:
        raise SettingError(
            "backbone.options", f"{settings.options} do not fit {name}: {error}; mend or drop them."
        ) from error
    # a module builds further classes, too: deit.py distilled ones, with a second class token
    family = FAMILIES.get(type(vit).__name__)
    if family is None or module not in family.modules or not _is_stem(vit, family):
        raise _unsupported(name)
    for part in family.unused:
        setattr(vit, part, nn.Identity())
    return vit


def load_weights(vit: nn.Module, settings: BackboneSettings) -> None:
    """Fill a transformer in place: from a local file if one is named, else from the published weights if asked for.

    Raises:
        UserError: when the weights cannot be found, downloaded or read, or belong to another architecture.
    """
    if settings.checkpoint is not None:
        refused, file = of_setting("backbone.checkpoint", settings.checkpoint), Path(settings.checkpoint)
    elif settings.pretrained:
        refused = of_setting("backbone.name", settings.name)
        changed = [key for key in settings.options if key in ("img_size", "patch_size")]
        if changed:
            raise SettingError(
                "backbone.options",
                f"sets {', '.join(changed)}, which published weights come with: leave it out "
                "(every image size works without), or set `backbone.pretrained` false.",
            )
        file = _download(vit, settings.name)
    else:
        return
    weights = _to_timm(vit, read_weights(file, refused), refused)
    _check_fit(vit.state_dict(), weights, refused)
    vit.load_state_dict(weights, strict=True)


def _find_module(name: str) -> str:
    """Module of timm that builds a name; refuses unknown names with the nearest known one, and other families."""
    timm = known_models()
    # timm's names are ARCHITECTURE.TAG; without a tag its default weights are meant
    architecture, _, tag = name.partition(".")
    # asked with `pretrained` alone does timm list names with their tags
    if not timm.is_model(architecture) or (tag and name not in timm.list_models(f"{architecture}.*", pretrained=True)):
        known = [*timm.list_models(module=list(MODULES)), *timm.list_models("*.*", pretrained=True)]
        near = nearest(name, known, cutoff=0.3)
        hint = f"did you mean {near}?" if near else "timm.list_models() lists the known ones."
        raise SettingError("backbone.name", f"{name} is not a model of timm: {hint}")
    module = timm.model_entrypoint(architecture).__module__.rpartition(".")[2]
    if module not in MODULES:
        raise _unsupported(name)
    return module


def _unsupported(name: str) -> UserError:
    return SettingError("backbone.name", f"{name} is of a family that does not work here: choose {WORKING}.")


def _is_stem(vit: nn.Module, family: Family) -> bool:
    """Whether images become tokens by one square convolution, over disjoint patches in a plain transformer."""
    try:
        stem = vit.get_submodule(family.stem)
    except AttributeError:
        return False
    if not isinstance(stem, nn.Conv2d) or any(len({*sizes}) > 1 for sizes in (stem.kernel_size, stem.stride)):
        return False
    return family.hierarchical or (stem.stride == stem.kernel_size and stem.padding == (0, 0))


def _download(vit: Any, name: str) -> Path:
    """Path of the published weights: with this package, or in the hub's cache, fetched if they are not there yet."""
    config = vit.pretrained_cfg
    if config.get("file"):  # of our own alone: neither options nor a checkpoint can name one
        return Path(config["file"])
    # the name in repositories whose data sheet gives none; pickles beside it are not looked at
    repo, file = config.get("hf_hub_id"), config.get("hf_hub_filename") or "model.safetensors"
    if not repo:
        raise SettingError("backbone.name", f"{name} has no published weights on the hub: {WEIGHTS_REMEDY}.")
    return published_weights(repo, file, "backbone.name", name, WEIGHTS_REMEDY)


def published_weights(
    repository: str, file: str, field: str, name: str, remedy: str, revision: str | None = None
) -> Path:
    """Path of a file of weights in the hub's cache, fetched if it is not there yet.

    Args:
        repository: OWNER/NAME.
        file: in it.
        field: the setting that asks for it.
        name: its value.
        remedy: what else can be done.
        revision: of the repository; None for the newest.

    Raises:
        UserError: when it cannot be downloaded.
    """
    try:
        return hub_file(repository, file, revision)
    except Exception as error:  # the client's errors share no base class across its versions
        reason = type(error).__name__
        raise SettingError(
            field, f"{name}: the weights {repository}/{file} cannot be downloaded ({reason}); {remedy}."
        ) from error


def of_setting(field: str, value: str) -> Refused:
    """What makes the error of a setting that has a value, of the rest of the sentence."""
    return lambda reason: SettingError(field, f"{value} {reason}")


def read_weights(file: Path, refused: Refused) -> dict[str, Any]:
    """Contents of a weights file, on the CPU, out of what scripts wrap them in; never runs pickled code.

    Args:
        file: to read.
        refused: makes the error of it.

    Raises:
        UserError: when it cannot be read, or holds something else.
    """
    if not file.is_file():
        raise refused("is not a file: give the path of a .safetensors, .pth or .pt file.")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        contents = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors, zip, pickle and the file system each raise their own
        raise refused(
            f"cannot be read as weights ({type(error).__name__}): give an undamaged .safetensors, .pth or .pt "
            "file that holds tensors only."
        ) from error
    if not isinstance(contents, dict):
        raise refused(f"holds no dictionary of weights but a {type(contents).__name__}: give another file.")
    # MAE's, DeiT's and Swin's files have the first, training scripts the second
    for wrapper in ("model", "state_dict"):
        if isinstance(contents.get(wrapper), dict):
            contents = contents[wrapper]
    return contents


def _to_timm(vit: Any, contents: dict[str, Any], refused: Refused) -> dict[str, Tensor]:
    """Names as timm's, by timm's own filters, without classifier, and without timm's silent resizing."""
    family = FAMILIES[type(vit).__name__]
    _check_sizes(vit, family, contents, refused)
    if family.hierarchical and vit.state_dict().keys() <= contents.keys():
        # timm 1.0.26 takes a Swin without a classifier for one of its authors', whose stages end where its own begin
        contents = {"head.fc.weight": torch.empty(0), **contents}
    try:
        contents = sys.modules[type(vit).__module__].checkpoint_filter_fn(dict(contents), vit)
    except (
        AttributeError,
        IndexError,
        KeyError,
        RuntimeError,
        TypeError,
    ) as error:  # of names and shapes it does not expect
        raise refused(
            f"does not hold the weights of this model: timm cannot read it ({error}); "
            "let `backbone.name` and `backbone.options` name the model of the file."
        ) from error
    # published files bring ImageNet's classifier, which a model without one would refuse
    classifiers = vit.pretrained_cfg.get("classifier") or ()
    heads = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    kept = {name: value for name, value in contents.items() if name.rpartition(".")[0] not in heads}
    return {name: value for name, value in kept.items() if name.partition(".")[0] not in family.unused}


def _check_sizes(vit: nn.Module, family: Family, contents: dict[str, Any], refused: Refused) -> None:
    """Refuse what timm's filters would resize without a word."""
    own = vit.state_dict()
    for name, value in contents.items():
        if name not in own or not isinstance(value, Tensor):
            continue
        kernel, table = name == f"{family.stem}.weight", name.endswith("relative_position_bias_table")
        if (kernel and value.shape[-2:] != own[name].shape[-2:]) or (table and value.shape != own[name].shape):
            raise _misfit(refused, name, value, own[name])
    positions, wanted = contents.get("pos_embed"), own.get("pos_embed")
    # Registers move the class token out of the position embedding, one row, which the filter takes care of.
    if not isinstance(positions, Tensor) or wanted is None:
        return
    if positions.ndim != wanted.ndim or abs(positions.shape[1] - wanted.shape[1]) > 1:
        raise _misfit(refused, "pos_embed", positions, wanted)


def _misfit(refused: Refused, name: str, found: Tensor, wanted: Tensor) -> UserError:
    return refused(
        f"holds another architecture or size: {name} is {tuple(found.shape)} there and {tuple(wanted.shape)} "
        "in the model; let `backbone.name` and `backbone.options` name the model of the file."
    )


def _check_fit(wanted: dict[str, Tensor], found: dict[str, Tensor], refused: Refused) -> None:
    """Refuse weights that lack a name of the model, bring one it does not know, or have another shape."""
    if problems := name_differences(wanted, found):
        raise refused(
            f"does not hold the weights of this model: it {' and '.join(problems)}; let `backbone.name` "
            "and `backbone.options` name the model of the file."
        )
    check_numbers(wanted, found, refused)
    for name, value in wanted.items():
        if found[name].shape != value.shape:
            raise _misfit(refused, name, found[name], value)


def check_numbers(wanted: Iterable[str], found: Mapping[str, Any], refused: Refused) -> None:
    """Refuse weights that are no tensors of real numbers, or NaN or infinite, of which all that is computed would be.

    Args:
        wanted: names of a model; those that are not in the file are passed over.
        found: what the file holds.
        refused: makes the error of it.

    Raises:
        UserError: naming the first.
    """
    for name, value in ((name, found[name]) for name in wanted if name in found):
        if not isinstance(value, Tensor) or value.is_complex():
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise refused(f"holds {name} as {kind}, no tensor of real numbers: give another file.")
        if not torch.isfinite(value).all():
            raise refused(f"holds {name} with numbers that are NaN or infinite: give an undamaged file.")
