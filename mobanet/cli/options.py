"""The options of fit, test, scores and adapt that are neither the trainer's, nor the model's, nor the data's."""

from typing import Literal

from lightning.pytorch.cli import LightningArgumentParser

from mobanet.cli.networks import HELP as NETWORKS_HELP
from mobanet.evaluation.details import USUAL_OBJECTS
from mobanet.evaluation.distances import USUAL
from mobanet.models.precision import Matmul
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.tracking.panels import PanelSettings
from mobanet.tracking.trackers import Tracker, Tracking

DESCRIPTIONS = {
    "fit": "Train a model on multimodal rasters. Start from --experiment NAME and override any setting.",
    "test": "Evaluate a checkpoint on the test tiles, in every scenario. The model comes from the checkpoint.",
    "scores": "Measure on training windows how far each scenario moves a checkpoint's latent, and write what latent "
    "sampling makes of it: probabilities for --scenarios.strategy fixed.",
    "adapt": "Take batch statistics of each scenario from training windows, keep those that validate better, and write "
    "a new checkpoint with them.",
}
USAGE = {"fit": "--experiment NAME", **dict.fromkeys(("test", "scores", "adapt"), "--ckpt_path FILE")}

_MODEL = "a checkpoint, the folder of a run, an exported folder or .safetensors file, or OWNER/NAME on the hub"
_CKPT = {
    "fit": "checkpoint to resume from, or the folder of its run; options given here win over those in it",
    "test": f"model to evaluate: {_MODEL}",
    "scores": f"model to measure: {_MODEL}",
    "adapt": f"model to adapt, which stays as it is: {_MODEL}",
}
_LOGGER = "what follows the run beside metrics.csv, which is always written; csv: nothing else"
_WANDB = "Weights & Biases; auto: online if logged in, offline if not"
_CHECKPOINTS = (
    "light leaves a frozen backbone out of checkpoints, which its file or the hub brings back; full writes all weights"
)
_MATMUL = "how float32 matrices are multiplied: high is TF32 on GPUs that have it, faster; null is torch's own way"
_VARIANT = "name of a variant that changes the experiment in one respect, or a YAML file; several by commas"
_INIT = "checkpoint or exported model whose weights and scaling a new run begins with; everything else starts afresh"
_MONITOR = (
    "metric by which the best epoch is kept; null for val/miou, and with a strategy that samples scenarios for "
    "val/scenarios/mean_miou"
)
_SEEDS = "several seeds, 0,1,2: a run each, one after the other, then a table of means and deviations"
_TEST = "test the best checkpoint when the run has ended; a bare --test is enough"
_DEGRADE = (
    "test each sensor degraded, too, all others as they were: blocks, pixels, gaussian, salt_and_pepper, haze, blur, "
    "misregistration, offset, scale, by commas; a bare --degrade takes all that apply: 21 passes over the test windows "
    "for each optical sensor and elevation model and 15 for any other; each pass takes as long as one scenario"
)
_BOUNDARY = (
    "measure boundary IoU and boundary F1, too, at these distances, by commas: 3 pixels, 0.5m on the ground, 2% of a "
    f"tile's diagonal; a bare --boundary takes {USUAL}"
)
_OBJECTS = (
    "count objects of these classes, too, by commas, and those that map and truth have alike; a bare --objects takes "
    f"{USUAL_OBJECTS}"
)
_DEGRADE_SEED = "of the degradations' draws; of the same seed a pixel suffers the same in every test"
_OUTPUT = {
    "scores": "JSON file to write; null for scenario_scores.json in the checkpoint's run folder",
    "adapt": "checkpoint to write; null for adapted.ckpt beside the checkpoint it is made of",
}
_WINDOWS = "training windows that batch statistics are taken from, the same in every scenario"


def add_options(parser: LightningArgumentParser, command: str) -> None:
    """Add them.

    Args:
        parser: of the command line.
        command: `fit`, `test`, `scores` or `adapt`; a run's configuration is read by all of them.
    """
    text = str | None
    parser.add_argument("--help_all", action="help", help="show all options and exit")
    parser.add_argument("--ckpt_path", type=text, default=None, help=_CKPT[command])
    parser.add_argument("--run", type=text, default=None, help="folder for results; null for runs/NAME/TIME")
    parser.add_argument("--logger", type=Tracker, default="wandb", help=_LOGGER)
    parser.add_argument("--wandb", type=Tracking, default="auto", help=_WANDB)
    parser.add_argument("--monitor", type=text, default=None, help=_MONITOR)
    parser.add_argument("--monitor_mode", type=Literal["max", "min"], default="max", help="which way is better")
    parser.add_argument("--checkpoints", type=Literal["light", "full"], default="light", help=_CHECKPOINTS)
    parser.add_argument("--float32_matmul_precision", type=Matmul | None, default=None, help=_MATMUL)
    # for the help: `with_networks` takes it out of the words before the parser sees them
    parser.add_argument("--networks", type=text, default=None, help=NETWORKS_HELP)
    parser.add_argument("--experiment", type=text, default=None, help="name of an experiment, or a YAML file")
    parser.add_argument("--variant", type=text, default=None, help=_VARIANT)
    parser.add_argument("--init_from", type=text, default=None, help=_INIT)
    if command == "fit":
        parser.add_argument("--seeds", type=text, default=None, help=_SEEDS)
        parser.add_argument("--test", type=bool, default=False, help=_TEST)
    if command == "test":
        parser.add_argument("--degrade", type=text, default=None, help=_DEGRADE)
        parser.add_argument("--boundary", type=text, default=None, help=_BOUNDARY)
        parser.add_argument("--objects", type=text, default=None, help=_OBJECTS)
        parser.add_argument("--degrade_seed", type=int, default=0, help=_DEGRADE_SEED)
    if command in _OUTPUT:
        parser.add_argument("--output", type=text, default=None, help=_OUTPUT[command])
    if command == "adapt":
        parser.add_argument("--windows", type=int, default=256, help=_WINDOWS)
    parser.add_class_arguments(ScenarioSettings, "scenarios")
    parser.add_class_arguments(PanelSettings, "panels")
