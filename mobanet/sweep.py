"""`python -m mobanet.sweep FILE --local`: a W&B sweep file, run on this machine without a server."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mobanet.cli.entry import fail, run
from mobanet.cli.option_names import with_settings
from mobanet.errors import UserError
from mobanet.plain.command_words import given_options, set_apart


def sweep(
    file: str,
    local: bool = False,
    trials: int | None = None,
    method: Literal["grid", "random", "bayes"] | None = None,
    seed: int = 0,
    run: str | None = None,
    words: list[str] | None = None,
) -> None:
    """Run the trials of a sweep file here: mobanet.sweep FILE --local [--trials N] [-- words for mobanet.fit].

    The same command goes on where it was stopped; several processes of it, one a GPU, share the trials.

    Args:
        file: a W&B sweep file or the name of one that comes with the package; `mobanet.sweep FILE` means the same.
        local: run it on this machine; without it a server runs it, with `wandb sweep FILE` and `wandb agent ID`.
        trials: most trials, those of earlier calls among them; null for the file's run_cap.
        method: grid, random or bayes (with Optuna), in place of the file's.
        seed: of random draws; a trial's values follow from it, the trial's number and, of bayes, earlier trials.
        run: folder for the trials; null for runs/sweeps/NAME.
        words: further ones for mobanet.fit, which win over those of the file; they may also stand behind `--`.
    """
    from mobanet.trials.arguments import check_own
    from mobanet.trials.local import planned, run_sweep
    from mobanet.trials.sweep_file import find_sweep, read_sweep

    # before --local is asked after: the sentence about it names the file
    path = find_sweep(file)
    if not local:
        raise UserError(
            f"a server's sweep is begun with `wandb sweep {path}` and run with `wandb agent ID`; --local runs it here."
        )
    for option, value, least in (("trials", trials, 1), ("seed", seed, 0)):
        if value is not None and value < least:
            raise UserError(f"--{option} is {value}; give at least {least}.")
    check_own(words or [], "the words behind --")
    what = read_sweep(path)
    # under the parser's names, so that --root and --data.root are one word to a trial's folder
    plan = planned(what, method, seed, trials, tuple(with_settings(words or [], "fit")))
    folder = Path(run) if run else Path("runs") / "sweeps" / path.stem
    # 0 is the usual seed, which nobody has to type again
    given: dict[str, str | int | None] = {"trials": trials, "method": method, "seed": seed or None, "run": run}
    again = ["python", "-m", "mobanet.sweep", file, "--local"]
    again += [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    run_sweep(what, plan, folder, shlex.join([*again, *(["--", *words] if words else [])]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    run(sweep, "python -m mobanet.sweep", with_file(sys.argv[1:] if arguments is None else arguments))


def with_file(words: Sequence[str]) -> list[str]:
    """The words of a command line with its FILE behind `--file` and what stands behind `--` in `--words`."""
    cut = list(words).index("--") if "--" in words else len(words)
    own, behind = list(words[:cut]), list(words[cut + 1 :])
    files, out = set_apart(own, ("--local",))
    if len(files) > 1:
        # by itself: what turns errors into sentences begins with `run`
        fail(f"mobanet.sweep takes one FILE, not {len(files)} ({', '.join(files)}); run it once for each.")
    if not files and not {"-h", "--help", "--file", "--config"} & given_options(own):
        from mobanet.trials.sweep_file import sweep_names

        fail(f"mobanet.sweep needs a FILE; give a W&B sweep file, or one of {', '.join(sweep_names())}.")
    # as one word of JSON, or the parser would take them for options of its own
    return [*out, *(f"--file={file}" for file in files), *([f"--words={json.dumps(behind)}"] if behind else [])]


if __name__ == "__main__":
    main()
