"""Train an experiment on several sets of modalities and print what each of them reaches on the test tiles.

    python experiments/compare_modalities.py [--experiment synthetic_irrgb_dsm] [--sets rgb dsm rgb,dsm rgb,ir,dsm]
        [--seeds 0 1] [--out runs/modalities] [-- --trainer.max_epochs 3 ...]

Every set gets the same steps, batch size and network; a set of one stream has nothing to fuse (MoBaNet's unimodal
baseline). Runs that are finished are not repeated. What follows `--` goes to `mobanet.fit` as it is.
"""

import argparse

from repeats import finished, parsed, print_table, shown


def main() -> None:
    """Run everything that is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["rgb", "dsm", "rgb,dsm", "rgb,ir,dsm"])
    options, extra = parsed(parser, seeds=(0, 1), out="runs/modalities")
    rows = []
    for modalities in options.sets:
        results = []
        for seed in options.seeds:
            folder = options.out / f"{modalities.replace(',', '+')}-{seed}"
            words = ["--modalities", modalities, *extra]
            results.append(finished(folder, options.experiment, seed, words, "best", "test.json"))
        classes = [shown([r["classes"][name]["iou"] for r in results]) for name in results[0]["classes"]]
        figures = [shown([r[key] for r in results]) for key in ("miou", "mean_f1", "oa")]
        rows.append([modalities.replace(",", " + "), *figures, *classes])
    header = ["modalities", "mIoU", "mean F1", "OA", *(f"IoU {name}" for name in results[0]["classes"])]
    print_table(header, rows, results[0]["protocol"])


if __name__ == "__main__":
    main()
