"""What `claims.py` compares: the cities, the ways to train (arms), and the tables that they stand in (groups)."""

from dataclasses import dataclass, field
from itertools import chain
from typing import Any

CITIES = {
    "ambiguous": "no sensor by itself tells the classes apart",
    "redundant": "optical and infrared bands tell most of what heights tell",
    "landscape": "Sentinel-2, Sentinel-1 and topography of a drawn landscape",
}
MODALITIES = ["rgb", "ir", "dsm"]
LANDSCAPE = ["s2", "s1", "topo"]


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes:
        words: in the table.
        scenarios: settings of `ScenarioSettings`.
        network: settings of `MoBaNetSettings`, beside the sizes that all arms share.
        module: settings of `SegmentationModule`.
        backbone: settings of `BackboneSettings`, beside the name.
        data: settings of `RasterDataModule`, beside those that all arms share.
        tested: in which scenarios: `all`, `full`, or names; more than a table tells would cost as much as training.
        falls_to: share of complete samples that the last epoch has, falling evenly from 1; None keeps `full_share`.
        consistency: weight of what incomplete samples are seen as, towards what is seen of the same crops complete.
        start: the arm whose weights it begins with, and trains half as many steps more at half the learning rate.
    """

    words: str
    scenarios: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    module: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    tested: str | tuple[str, ...] = "all"
    start: str | None = None
    falls_to: float | None = None
    consistency: float = 0.0

    @property
    def extra(self) -> str | None:
        """Of `EXTRAS`, what has to be installed to train it; None: a plain installation does."""
        if self.module.get("cmx", {}).get("encoder", "").startswith("mit"):
            return "cmx"
        return "lora" if "lora" in self.module else None


EXTRAS = {"cmx": "segmentation_models_pytorch", "lora": "peft"}
"""The package that each extra brings."""
SIZES = {"projection_channels": 40, "decoder_channels": 32, "cpia_ratio": 0.125}
AWARE = {"absent": "left_out", "normalization": "group"}
HALF = {"strategy": "uniform", "full_share": 0.5}
LATER = {**HALF, "warmup_epochs": 0.4}
APART = {"strategy": "uniform", "full_share": 0.5, "warmup_epochs": 0.3}
THEN = {"strategy": "uniform", "full_share": 0.0, "warmup_epochs": 0.8}
OWN = {"absent": "left_out", "incomplete": "own"}
NORM = {"normalization": "scenario"}
EVEN: dict[str, Any] = {"class_weights": None}
DICE: dict[str, Any] = {**EVEN, "loss": {"cross_entropy": 1, "dice": 1}}
PLAIN: dict[str, Any] = {"masking": {"ratio": 0.0}, "auxiliary_weight": 0.0}
CMX: dict[str, Any] = {
    "architecture": "cmx",
    "masking": {"ratio": 0.0},
    "cmx": {"encoder": "cnn", "decoder_channels": 64},
}
MIT: dict[str, Any] = {
    "architecture": "cmx",
    "masking": {"ratio": 0.0},
    "cmx": {"encoder": "mit_b0", "pretrained": False, "decoder_channels": 64},
    # one kernel for all of its five hundred parameters, eleven million numbers, rather than several for each
    "fused": True,
}
# What is left to regain in incomplete scenarios: what specialists have above `own_latent` (seeds 0 to 2), in points.
LEFT = {"rgb": 5.2, "ir": 13.2, "dsm": 11.1, "rgb+ir": 15.4, "rgb+dsm": 6.1, "ir+dsm": 12.0}
REGAIN: dict[str, Any] = {
    "strategy": "fixed",
    "probabilities": {scenario: left / sum(LEFT.values()) for scenario, left in LEFT.items()},
}
ONCE = {"strategy": "latent", "every_n_epochs": None}
TWO = ("full", "uniform", "own_latent")
"""Arms that there are with three streams as well."""
THREE: dict[str, Any] = {"streams": {"optical": ["rgb"], "infrared": ["ir"], "elevation": ["dsm"]}}
LAND_TWO = {**EVEN, "streams": {"optical": ["s2"], "ground": ["s1", "topo"]}}
"""As in the experiment `hunan_s2_s1_topo`, and below in `hunan_three_streams`."""
LAND_THREE = {**EVEN, "streams": {"optical": ["s2"], "radar": ["s1"], "elevation": ["topo"]}}
INCOMPLETE = ("rgb", "ir", "dsm", "rgb+ir", "rgb+dsm", "ir+dsm")
ARMS = {
    # how samples come to lack sensors, everything else as in the paper
    "full": Arm("all sensors, always"),
    "uniform": Arm("every scenario alike", {"strategy": "uniform"}),
    "latent": Arm("by latent distortion, each epoch", {"strategy": "latent"}),
    "uniform_norm": Arm("uniform, a batch each; batch statistics by scenario", {"strategy": "uniform"}, NORM),
    "latent_once": Arm("by latent distortion, once", ONCE),
    "half": Arm("half of each batch full, the rest uniform", HALF),
    "third": Arm("a third of each batch full, the rest uniform", {**HALF, "full_share": 1 / 3}),
    "falling": Arm("a share that falls from all to a quarter, the rest uniform", HALF, falls_to=0.25),
    "half_told": Arm("half; gate and prompts are told what is missing", HALF, {"absent": "left_out"}),
    "half_group_norm": Arm("half; group norm", HALF, {"normalization": "group"}),
    "half_tokens": Arm("half; learned tokens", HALF, {"missing": "token"}),
    "half_regain": Arm("half; the rest by what is left to regain", {**HALF, **REGAIN}),
    "half_consistent": Arm("half; incomplete samples drawn to what is seen complete", HALF, consistency=0.3),
    "half_later": Arm("half, after 40 % of the steps on full", LATER),
    # a network that knows what is missing
    "full_aware": Arm("full; absent streams left out, group norm", network=AWARE),
    "uniform_aware": Arm("uniform; likewise", {"strategy": "uniform"}, AWARE),
    "half_aware": Arm("half; likewise", HALF, AWARE),
    "half_later_aware": Arm("half, later; likewise", LATER, AWARE),
    # parts of their own for samples that lack a sensor
    "own": Arm("own parts; 30 % of the steps on full, then half of the batches; absent left out", APART, OWN),
    "own_latent": Arm("own, the rest by latent distortion", {**APART, "strategy": "latent"}, OWN),
    "own_norm": Arm(
        "own_latent, a batch each; batch statistics by scenario", {**APART, "strategy": "latent"}, {**OWN, **NORM}
    ),
    "then": Arm("own parts; 80 % of the steps on full, then the rest without, each with a schedule", THEN, OWN),
    "then_latent": Arm("then, the rest by latent distortion", {**THEN, "strategy": "latent"}, OWN),
    "then_norm": Arm(
        "then_latent, a batch each; batch statistics by scenario", {**THEN, "strategy": "latent"}, {**OWN, **NORM}
    ),
    "then_70": Arm("then_latent, after 70 %", {**THEN, "strategy": "latent", "warmup_epochs": 0.7}, OWN),
    "own_quarter": Arm("own, a quarter of the batches full", {**APART, "full_share": 0.25}, OWN),
    "own_late": Arm("own, after 60 %", {**APART, "warmup_epochs": 0.6}, OWN),
    "own_later": Arm("own, after 40 %", {**APART, "warmup_epochs": 0.4}, OWN),
    "own_zeros": Arm("own, absent streams as zeros", APART, {"incomplete": "own"}),
    "own_group_norm": Arm("own with group norm", APART, {**OWN, "normalization": "group"}),
    "own_tokens": Arm("own with learned tokens", APART, {**OWN, "missing": "token"}),
    "own_regain": Arm("own, the rest by what is left to regain", {**APART, **REGAIN}, OWN),
    # MoBaNet's parts, all sensors there
    "no_cpia": Arm("full without CPIA", network={"placement": "none"}, tested="full"),
    "no_dgfm": Arm("full without DGFM", network={"fusion": "mean"}, tested="full"),
    "no_masking": Arm("full without MCRM", module={"masking": {"ratio": 0.0}}, tested="full"),
    "no_auxiliary": Arm("full without auxiliary losses", module={"auxiliary_weight": 0.0}, tested="full"),
    "decoder_only": Arm(
        "full without any of them", network={"placement": "none", "fusion": "mean"}, module=PLAIN, tested="full"
    ),
    "lora": Arm(
        "low-rank adaptation in place of interaction, masking and auxiliary losses",
        network={"placement": "none"},
        module={**PLAIN, "lora": {"rank": 4}},
        tested="full",
    ),
    "full_finetuning": Arm(
        "the backbone is trained, in place of them",
        network={"placement": "none"},
        module={**PLAIN, "backbone_lr": 1e-4},
        backbone={"freeze": False},
        tested="full",
    ),
    # what is done about classes of few pixels; above, cars weigh five times as much and clutter twice
    "even": Arm("cross-entropy, every pixel alike", module=EVEN, tested="full"),
    "plus_dice": Arm("Dice added to it", module=DICE, tested="full"),
    "plus_lovasz": Arm(
        "Lovász-Softmax added to it", module={**EVEN, "loss": {"cross_entropy": 1, "lovasz": 1}}, tested="full"
    ),
    "focal": Arm("focal loss in its place", module={**EVEN, "loss": "focal"}, tested="full"),
    "weights_auto": Arm("class weights `auto`, the inverse root", module={"class_weights": "auto"}, tested="full"),
    "weights_effective": Arm("class weights `effective`", module={"class_weights": "effective"}, tested="full"),
    "balanced": Arm(
        "half of the crops around a pixel of each class alike",
        module=EVEN,
        data={"sampling": "balanced"},
        tested="full",
    ),
    # specialists: what each incomplete scenario allows where nothing else is asked for
    **{
        f"alone_{name}": Arm(
            f"{name} alone, always", {"strategy": "fixed", "probabilities": {name: 1.0}}, tested=(name,)
        )
        for name in INCOMPLETE
    },
    # from a start: the scenario paper's authors go on from a model that was trained on every scenario alike
    **{
        f"{start}_then_{name}": Arm(words, scenarios, network, start=start)
        for start in ("full", "uniform")
        for name, words, scenarios, network in (
            ("full", "all sensors", {}, {}),
            ("uniform", "every scenario alike", {"strategy": "uniform"}, {}),
            ("latent_once", "by latent distortion, once", ONCE, {}),
            ("latent", "by latent distortion, each epoch", {"strategy": "latent"}, {}),
            ("half", "half of each batch full", HALF, {}),
            ("own", "own parts, half of the batches", HALF, {"incomplete": "own"}),
            ("apart", "own parts alone; the others stay", {**HALF, "full_share": 0.0}, {"incomplete": "own"}),
            ("apart_told", "apart; absent left out", {**HALF, "full_share": 0.0}, OWN),
            ("apart_norm", "apart_told; batch statistics by scenario", {**HALF, "full_share": 0.0}, {**OWN, **NORM}),
        )
        # told what is missing and normalised by it, parts are compared where a model of all sensors is there
        if start == "full" or name not in ("apart_told", "apart_norm")
    },
    # a network without a foundation model, all of it trained from random weights
    "cmx_full": Arm("all sensors, always", module=CMX),
    "cmx_uniform": Arm("every scenario alike", {"strategy": "uniform"}, module=CMX),
    "cmx_latent_once": Arm("by latent distortion, once", ONCE, module=CMX),
    "cmx_latent": Arm("by latent distortion, each epoch", {"strategy": "latent"}, module=CMX),
    "cmx_half": Arm("half of each batch full, the rest uniform", HALF, module=CMX),
    # the same with the smallest encoder of the published CMX, which takes half the time
    "mit_full": Arm("all sensors, always", module=MIT),
    "mit_uniform": Arm("every scenario alike", {"strategy": "uniform"}, module=MIT),
    "mit_latent_once": Arm("by latent distortion, once", ONCE, module=MIT),
    "mit_latent": Arm("by latent distortion, each epoch", {"strategy": "latent"}, module=MIT),
    "mit_half": Arm("half of each batch full, the rest uniform", HALF, module=MIT),
    # rgb and ir as a stream each, rather than in one
    "three_full": Arm("full; three streams", module=THREE),
    "three_uniform": Arm("uniform; three streams", {"strategy": "uniform"}, module=THREE),
    "three_own_latent": Arm("own_latent; three streams", {**APART, "strategy": "latent"}, OWN, THREE),
    # the same question of the landscape
    "land_full": Arm("full; Sentinel-1 and topography in one stream", module=LAND_TWO),
    "land_three_full": Arm("full; three streams", module=LAND_THREE),
    "land_own_latent": Arm("own_latent; in one stream", {**APART, "strategy": "latent"}, OWN, LAND_TWO),
    "land_three_own_latent": Arm("own_latent; three streams", {**APART, "strategy": "latent"}, OWN, LAND_THREE),
    # a loss of regions where sensors are missing
    "full_dice": Arm("all sensors, always", module=DICE),
    "uniform_dice": Arm("every scenario alike", {"strategy": "uniform"}, module=DICE),
    "own_latent_dice": Arm("own parts, the rest by latent distortion", {**APART, "strategy": "latent"}, OWN, DICE),
}


@dataclass(frozen=True)
class Group:
    """Arms of one table.

    Attributes:
        title: of the table.
        against: the arm that differences are told to.
        arms: by name.
        complete: whether only the scenario of all sensors is told.
        partners: by arm another than `against`, where each has one of its own; `to` says of all of them what they are.
        to: in words.
        rare: whether the IoU of `RARE` in it is told, too.
    """

    title: str
    against: str
    arms: tuple[str, ...]
    complete: bool = False
    rare: bool = False
    partners: dict[str, str] = field(default_factory=dict)
    to: str = ""

    def pairs(self) -> list[tuple[str, str]]:
        """Each arm that is compared, and the one that its differences are told to."""
        return list(self.partners.items()) or [(arm, self.against) for arm in self.arms if arm != self.against]


GROUPS = {
    "sampling": Group(
        "Which samples lack sensors, and what sees these",
        "uniform",
        ("full", "uniform", "latent", "uniform_norm", "own_latent", "own_norm", "then_latent", "then_norm"),
    ),
    "shared": Group(
        "What else was tried with the parts that all samples share",
        "half",
        tuple(ARMS)[list(ARMS).index("latent_once") : list(ARMS).index("own")],
    ),
    "apart": Group(
        "What else was tried with parts of their own",
        "own",
        tuple(ARMS)[list(ARMS).index("own") : list(ARMS).index("no_cpia")],
    ),
    "parts": Group(
        "MoBaNet's parts, trained on all sensors",
        "full",
        ("full", *("no_cpia", "no_dgfm", "no_masking", "no_auxiliary", "decoder_only", "lora", "full_finetuning")),
        complete=True,
    ),
    **{
        f"after_{start}": Group(
            f"Half as many steps more, from `{start}`",
            f"{start}_then_uniform",
            tuple(name for name in ARMS if name.startswith(f"{start}_then_")),
        )
        for start in ("full", "uniform")
    },
    "imbalance": Group(
        "What is done about classes of few pixels, trained on all sensors",
        "even",
        ("even", "plus_dice", "plus_lovasz", "focal", "weights_auto", "weights_effective", "balanced"),
        complete=True,
        rare=True,
    ),
    "dice": Group(
        "Dice added to the loss, every pixel alike, where sensors are missing",
        "full_dice",
        ("full_dice", "uniform_dice", "own_latent_dice"),
    ),
    "cmx": Group("CMX with a small encoder", "cmx_uniform", tuple(name for name in ARMS if name.startswith("cmx_"))),
    "mit": Group("CMX with MiT-B0", "mit_uniform", tuple(name for name in ARMS if name.startswith("mit_"))),
    "streams": Group(
        "Two streams and three",
        "",
        (*chain(*((two, f"three_{two}") for two in TWO)), *(arm for arm in ARMS if arm.startswith("land_"))),
        partners={f"three_{two}": two for two in TWO}
        | {f"land_three_{two}": f"land_{two}" for two in ("full", "own_latent")},
        to="the same with two streams",
    ),
    "specialists": Group("", "", tuple(name for name in ARMS if name.startswith("alone_"))),
}
"""That of the specialists, each for one scenario and of no use in others, has no table: it is what others regain of."""
# what tests the claims of both papers: no table of its own, arms of those above
GROUPS["papers"] = Group(
    "",
    "",
    (
        *GROUPS["parts"].arms,
        "uniform",
        *(
            f"{start}_then_{name}"
            for start, ours in (("full", "apart_norm"), ("uniform", "own"))
            for name in ("full", "uniform", "latent_once", "latent", ours)
        ),
        *GROUPS["mit"].arms,
        *GROUPS["specialists"].arms,
    ),
)


def layout_of(city: str) -> str:
    """The layout that it is drawn in."""
    return "hunan" if city == "landscape" else "potsdam"


def modalities_of(city: str) -> list[str]:
    """Its sensors."""
    return LANDSCAPE if city == "landscape" else MODALITIES
