"""The help of the commands with the most options, in one screen: examples and what is used most, without an import.

`--help_all` has all of them, from the parser.
"""

from collections.abc import Sequence
from textwrap import wrap

from mobanet.shipped import experiment_names

_FIT = """\
usage: python -m mobanet.fit --experiment NAME [--OPTION VALUE ...]

Train a model on multimodal rasters: an experiment has all settings, and every option changes one of them.

examples:
  python -m mobanet.fit --experiment potsdam_irrgb_dsm --root /data/potsdam --run runs/potsdam
  python -m mobanet.fit --experiment potsdam_irrgb_dsm --batch_size 6 --trainer.accumulate_grad_batches 4
  python -m mobanet.fit --experiment potsdam_irrgb_dsm --variant cmx_cnn,latent --seeds 0,1,2 --test
  python -m mobanet.fit --ckpt_path runs/potsdam/checkpoints/last.ckpt

options:
  --experiment NAME              {experiments} or a YAML file
  --variant NAME                 changes it in one respect; several by commas (`python -m mobanet` lists them)
  --run DIR                      folder for results; runs/NAME/TIME unless given
  --ckpt_path FILE               go on from a checkpoint, or a run's last one
  --init_from FILE               begin a new run with the weights of a checkpoint or an exported model
  --seeds 0,1,2 --test           a run each, each tested, means and deviations; --seed N for one
  --wandb off                    or auto, online, offline
  --root DIR                     folder with the rasters or archives as they were downloaded
  --modalities rgb,dsm           those to use
  --crop_size N                  pixels of a training crop; the windows of evaluation follow
  --batch_size N                 crops a step, on each device; --data.steps_per_epoch N steps an epoch
  --model.backbone.name NAME     timm name, such as vit_small_patch14_dinov2.lvd142m
  --model.backbone.freeze false  train it, too; --model.backbone_lr sets its learning rate
  --model.lr X                   learning rate
  --scenarios.strategy latent    sensors that are missing in training: full, uniform, latent or fixed
  --trainer.max_epochs N         how long
  --devices N                    with --trainer.strategy ddp on several; --accelerator cpu or gpu
  --precision auto               what the hardware computes in; or 32-true, bf16-mixed, 16-mixed
"""

_OF_A_RUN = """\
  --backbone FILE                weights of a frozen backbone, where they have moved
  --root DIR                     where the data lies now, if it has moved
  --batch_size N                 windows a step
  --accelerator cpu              or gpu; --devices N for several
  --precision auto               what the hardware computes in; or 32-true, bf16-mixed, 16-mixed
"""

_MORE = """
--print_config shows every setting with its value, --help_all says what each is.
"""

_TEST = """\
usage: python -m mobanet.test --ckpt_path FILE [--OPTION VALUE ...]

Evaluate a checkpoint on the test tiles, in every scenario. The model comes from the checkpoint, and the data and all
other settings from the run folder that it lies in.

examples:
  python -m mobanet.test --ckpt_path runs/potsdam/checkpoints/best.ckpt
  python -m mobanet.test --ckpt_path best.ckpt --experiment potsdam_irrgb_dsm --root /data/potsdam --run tested
  python -m mobanet.test --ckpt_path runs/potsdam/checkpoints/best.ckpt --stride 32
  python -m mobanet.test --ckpt_path runs/potsdam/checkpoints/best.ckpt --degrade

options:
  --ckpt_path FILE               checkpoint, folder of a run, exported model, or OWNER/NAME on the hub
  --run DIR                      folder whose test/ takes the results; the checkpoint's run folder unless given
  --experiment NAME              settings of a model that lies in no run folder
  --scenarios.evaluate all       every combination of the modalities, or full
  --scenarios.failure P          probability that a sensor fails, for the expected mIoU; [P, P] or {NAME: P, NAME: P}
  --degrade                      each sensor degraded, too: 15 to 21 passes a sensor; or some: --degrade blocks,haze
  --boundary 3,0.5m              boundary IoU and F1, too, at distances in pixels, metres or % of a tile's diagonal
  --objects building             how many objects of these classes are found, too
  --data.split NAME              tile lists
  --window N                     pixels of a window
  --stride N                     from window to window; half a window unless given
  --data.evaluation.labels full  or eroded
"""

_SCORES = """\
usage: python -m mobanet.scores --ckpt_path FILE [--OPTION VALUE ...]

Measure on training windows how far each scenario moves a checkpoint's latent, and write what latent sampling makes of
it: probabilities for --scenarios.strategy fixed.

examples:
  python -m mobanet.scores --ckpt_path runs/uniform/checkpoints/best.ckpt
  python -m mobanet.scores --ckpt_path runs/uniform/checkpoints/best.ckpt --scenarios.bandwidth median --output p.json

options:
  --ckpt_path FILE               checkpoint, folder of a run, exported model, or OWNER/NAME on the hub
  --output FILE                  JSON file; scenario_scores.json in the checkpoint's run folder unless given
  --run DIR                      folder for it instead
  --experiment NAME              settings of a model that lies in no run folder
  --scenarios.num_windows N      windows to measure on, or auto
  --scenarios.tau X              temperature: lower prefers the strongest scenarios more
  --scenarios.gamma X            0 is uniform
  --scenarios.ridge X            added to the kernel's diagonal
  --scenarios.bandwidth X        of the kernel, or median
"""

_ADAPT = """\
usage: python -m mobanet.adapt --ckpt_path FILE [--OPTION VALUE ...]

Take the decoder's batch statistics anew in each scenario, from training windows without the sensors that it lacks, keep
them where the validation tiles are mapped better, and write a new checkpoint with them. No weight changes. It is for
models that were trained with every sensor there.

examples:
  python -m mobanet.adapt --ckpt_path runs/full/checkpoints/best.ckpt
  python -m mobanet.adapt --ckpt_path runs/full/checkpoints/best.ckpt --windows 512 --output adapted/full.ckpt

options:
  --ckpt_path FILE               checkpoint, folder of a run, exported model or one on the hub; it stays as it is
  --output FILE                  checkpoint to write, new; adapted.ckpt beside it unless given
  --windows N                    training windows, the same in every scenario; 256 unless given
  --seed N                       of their order; the run's unless given
  --experiment NAME              settings of a model that lies in no run folder
  --scenarios.failure P          probability that a sensor fails, for the expected mIoU
"""

_PREDICT = """\
usage: python -m mobanet.predict --ckpt_path FILE --input NAME=RASTER ... --output MAP.tif [--OPTION VALUE ...]

Write a class map of rasters of any size, from whichever modalities there are.

examples:
  python -m mobanet.predict --ckpt_path best.ckpt --input rgb=ortho.tif ir=rgbir.tif[4] dsm=surface.tif --output map.tif
  python -m mobanet.predict --ckpt_path best.ckpt --input rgb=orthos/ dsm=surfaces/*.tif --output maps/ --scenarios
  python -m mobanet.predict --ckpt_path best.ckpt --input rgb=https://host/ortho.tif --output map.tif --resume
  python -m mobanet.predict --ckpt_path best.ckpt --scenes scenes.csv --output maps/

options:
  --ckpt_path FILE               checkpoint, folder of a run, folder that mobanet.export wrote, or OWNER/NAME on the hub
  --input NAME=RASTER ...        a raster, folder, pattern or URL for each modality; bands, from 1, in brackets
  --scenes FILE.csv              in its place, a list of scenes (id and modalities); --part 3/16 for a share of it
  --output FILE                  GeoTIFF to write; a folder for several scenes
  --preset smooth                or test (as mobanet.test measures), authors (stride 32)
  --window N, --stride N         pixels of a window, and from window to window
  --turns                        test-time augmentation: mean over eight turns and flips of a window
  --confidence uint8             or float32: probability of the map's class; --probabilities uint8: of every class
  --calibrated false             probabilities as the network gives them, not at the checkpoint's temperatures
  --scenarios                    write which scenario each pixel was predicted in
  --polygons                     write polygons of the classes, too, or give a name: --polygons FILE.gpkg
  --minimum_area M2              of polygons; --fill_holes M2; --simplify METRES
  --right_angles CLASS ...       polygons of these classes as right-angled outlines, such as building
  --zones FILE                   write what the map has in each polygon of a file; --zones_attribute NAME
  --reference NAME               modality whose grid the map gets
  --crs EPSG:25833               of rasters that name none
  --resolution METRES            of the map's pixels, or training: as the model was trained on
  --nodata NAME=VALUE            means missing, beside what the rasters declare
  --factor NAME=X                what raster values are multiplied by
  --minimum NAME=VALUE           lower raster values are missing
  --batch_size N                 windows that go through the network together
  --accelerator cpu              or gpu; --devices N for several
  --precision 32-true            or auto, bf16-mixed, 16-mixed
  --resume                       go on with an interrupted prediction
  --overwrite                    replace a map that is there

--help_all says what each option is, and has the rest.
"""

_SCREENS = {
    "fit": _FIT + _MORE,
    "test": _TEST + _OF_A_RUN + _MORE,
    "scores": _SCORES + _OF_A_RUN + _MORE,
    "adapt": _ADAPT + _OF_A_RUN + _MORE,
    "predict": _PREDICT,
}


def asked_for(words: Sequence[str]) -> bool:
    """Whether a command line asks for help in one screen."""
    return bool({"-h", "--help"} & set(words))


def screen(command: str) -> str | None:
    """The help of a command; None where the parser's own is short enough."""
    text = _SCREENS.get(command)
    # behind 33 columns of options' names, within 120
    names = wrap(", ".join(experiment_names()), 85)
    return text and text.replace("{experiments}", f"\n{' ' * 33}".join(names))
