"""What a run is made of: its model with the sizes of its parts, its settings, protocol and configuration."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mobanet.models.precision import AUTO
from mobanet.reporting.folder import RunFolder
from mobanet.reporting.markup import macro
from mobanet.reporting.model import ModelFacts

_SETTINGS = {
    "layout": "data.layout",
    "split": "data.split",
    "validation": "data.validation",
    "labels in training": "data.train_labels",
    "crop, pixels": "data.crop",
    "crops a step": "data.batch_size",
    "steps an epoch": "data.steps_per_epoch",
    "epochs": "trainer.max_epochs",
    "devices": "trainer.devices",
    "precision": "trainer.precision",
    "loss": "model.loss",
    "optimiser": "model.optimizer",
    "learning rate": "model.lr",
    "weight decay": "model.weight_decay",
    "warm-up, epochs": "model.schedule.warmup_epochs",
    "schedule": "model.schedule.shape",
    "masking ratio": "model.masking.ratio",
    "auxiliary weight": "model.auxiliary_weight",
    "scenario strategy": "scenarios.strategy",
    "best epoch by": "monitor",
    "seed": "seed_everything",
}


def model_section(run: RunFolder, model: ModelFacts) -> Markup:
    """Architecture, pretrained part with its licence, versions, and a table of parameters."""
    import torch

    from mobanet import __version__

    entries: list[tuple[str, str]] = [
        ("architecture", model.architecture),
        ("pretrained part", model.pretrained),
        ("streams", "; ".join(f"{name}: {', '.join(members)}" for name, members in model.streams.items())),
        ("modalities", "; ".join(f"{m.name} ({', '.join(m.bands)})" for m in run.data.modalities)),
        ("checkpoint", f"{run.checkpoint}, after epoch {run.epoch + 1}, step {run.step}"),
        ("report made with", f"mobanet {__version__}, torch {torch.__version__}"),
    ]
    if run.lightning:
        entries.append(("checkpoint written by", f"Lightning {run.lightning}"))
    if run.fingerprint:
        entries.append(("SHA-256 of the backbone", run.fingerprint))
    if run.commit:
        entries.append(("git commit of the run", run.commit))
    return macro("facts", "model", entries, model.parts)


def settings_section(run: RunFolder) -> Markup:
    """The settings that matter most, and the whole configuration behind them."""
    known = {word: _setting(run.config, path) for word, path in _SETTINGS.items()}
    # what `auto` came to is what figures depend on
    if known["precision"] == AUTO and run.precision:
        known["precision"] = f"{run.precision} ({AUTO})"
    # configurations of earlier versions, and of other networks, lack some
    entries = [(word, value) for word, value in known.items() if value is not None]
    return macro("facts", "settings", entries, run.config_text.rstrip())


def protocol_section(protocol: Mapping[str, str]) -> Markup:
    """How the figures came about."""
    return macro("parts", "pairs", protocol.items())


def _setting(config: Mapping[str, Any], path: str) -> str | None:
    """A value by its dotted path; None where it is not set."""
    value: Any = config
    for key in path.split("."):
        if not isinstance(value, dict) or value.get(key) is None:
            return None
        value = value[key]
    return str(value).replace("'", "")  # of a mapping, as YAML has it
