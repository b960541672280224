"""The console script `mobanet COMMAND …`, the same as `python -m mobanet.COMMAND …`."""

import importlib
import sys

from mobanet import __version__
from mobanet.plain.pipes import unread_output_ends_quietly
from mobanet.plain.wording import nearest

COMMANDS = {
    "fit": "train a model: mobanet fit --experiment NAME",
    "test": "evaluate a checkpoint on the test tiles, in every scenario",
    "predict": "maps of rasters of any size: mobanet predict --ckpt_path F --input rgb=a.tif --output map.tif",
    "report": "a run as one HTML page: mobanet report RUN",
    "export": "a model as ONNX, torch.export, safetensors or a folder to share",
    "sweep": "a search over settings by a W&B sweep file: mobanet sweep FILE --local",
    "scores": "measure how far each scenario moves a checkpoint's latent",
    "adapt": "let a checkpoint that was trained with every sensor there do better without one",
    "init": "an experiment for rasters and labels of your own: mobanet init --rgb F --labels F --output town.yaml",
    "prepare": "turn rasters or archives into the tile store",
    "check": "list tiles, shapes, values and problems, and draw a contact sheet",
    "synthesize": "write a synthetic city under a data set's own file names",
}


def main() -> None:
    """Run the command that the first word names; without one, list what there is."""
    with unread_output_ends_quietly():
        _main(sys.argv[1:])


def _main(words: list[str]) -> None:
    if not words or words[0] in ("-h", "--help"):
        from mobanet.cli.overview import overview

        print(overview(COMMANDS))
        return
    if words[0] == "--version":
        print(__version__)
        return
    if words[0] not in COMMANDS:
        near = nearest(words[0], COMMANDS)
        hint = f"; did you mean {near}?" if near else ""
        print(f"error: {words[0]} is not a command{hint} The commands are {', '.join(COMMANDS)}.", file=sys.stderr)
        sys.exit(2)
    # the processes of a distributed run are started with the same words
    if words[0] in ("fit", "test", "scores", "adapt"):
        from mobanet.start import start

        start(words[0], words[1:])
    else:
        # the one command's module, since others would load what it does not need
        importlib.import_module(f"mobanet.{words[0]}").main(words[1:])


if __name__ == "__main__":
    main()
