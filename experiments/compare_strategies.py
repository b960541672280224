"""Train an experiment with several strategies of scenario sampling and print what each scenario reaches in the test.

    python experiments/compare_strategies.py [--experiment synthetic_irrgb_dsm]
        [--strategies full uniform latent recipe] [--seeds 0 1 2] [--out runs/strategies]
        [-- --trainer.max_epochs 3 ...]

Every strategy gets the same steps, crops, batch size and network, and is tested at its last step: no checkpoint is
chosen, so none is chosen in favour of a scenario. `recipe` is the experiment as it is; the others see samples in the
strategy's scenarios from the first step, with one set of parts for all. Runs that are finished are not repeated. What
follows `--` goes to `mobanet.fit` as it is.
"""

import argparse

from repeats import finished, parsed, print_table, shown


def main() -> None:
    """Run everything that is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategies", nargs="+", default=["full", "uniform", "latent", "recipe"])
    options, extra = parsed(parser, seeds=(0, 1, 2), out="runs/strategies")
    columns = []
    for strategy in options.strategies:
        results = []
        for seed in options.seeds:
            folder = options.out / f"{strategy}-{seed}"
            # no epoch is chosen, so that validating every scenario would be for nothing
            words = [] if strategy == "recipe" else ["--variant", strategy]
            words += ["--scenarios.validate", "full", *extra]
            results.append(finished(folder, options.experiment, seed, words, "last", "test_scenarios.json"))
        scenarios = {name: shown([r["scenarios"][name]["miou"] for r in results]) for name in results[0]["scenarios"]}
        summary = {
            label: shown([r["summary"][key]["miou"] for r in results])
            for key, label in (("mean", "mean"), ("worst", "worst"), ("incomplete", "mean of incomplete"))
        }
        columns.append({**scenarios, **summary})
    rows = [[name.replace("+", " + "), *(column[name] for column in columns)] for name in columns[0]]
    print_table(["mIoU in scenario", *options.strategies], rows, results[0]["protocol"])


if __name__ == "__main__":
    main()
