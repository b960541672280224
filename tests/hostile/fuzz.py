"""Hundreds of damaged inputs: `python -m tests.hostile.fuzz 4000` by hand; a case alone: `... fuzz 1 --first 371`."""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.hostile.children import Verdict, verdicts
from tests.hostile.kinds import KINDS, clean

SECONDS = 20.0
"""A case may take; nearly all take a few milliseconds."""


def case(number: int, folder: Path, kinds: Sequence[Callable] = KINDS) -> None:
    """The case of a number: always the same one."""
    clean(folder)
    kinds[number % len(kinds)](random.Random(number), folder)


def found(numbers: Sequence[int], folder: Path, kinds: Sequence[Callable] = KINDS) -> Iterator[tuple[int, Verdict]]:
    """How cases end, by number."""
    cases = [partial(case, number, folder / "case", kinds) for number in numbers]
    yield from zip(numbers, verdicts(cases, SECONDS), strict=True)


def wrong(number: int, verdict: Verdict, kinds: Sequence[Callable] = KINDS) -> str | None:
    """What is wrong with how a case ended; None if nothing is."""
    if verdict.end in ("exception", "hang", "death"):
        return f"case {number} ({kinds[number % len(kinds)].__name__}): {verdict.end} {verdict.text}"
    if verdict.end == "sentence" and not verdict.text.strip():
        return f"case {number} ({kinds[number % len(kinds)].__name__}): nothing was said"
    return None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", default=None, help="name of one kind")
    given = parser.parse_args()
    kinds = [kind for kind in KINDS if given.kind in (None, kind.__name__)]
    ends: Counter[tuple[str, str]] = Counter()
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        for number, verdict in found(range(given.first, given.first + given.count), Path(name), kinds):
            ends[kinds[number % len(kinds)].__name__, verdict.end] += 1
            if text := wrong(number, verdict, kinds):
                where = "".join(text.splitlines()[-3:])[-200:]
                seen[where] += 1
                if seen[where] == 1:
                    print(text, "\n", flush=True)
            elif given.count == 1:
                print(verdict)
    for (kind, end), count in sorted(ends.items()):
        print(f"{kind:20} {end:10} {count}")


if __name__ == "__main__":
    main()
