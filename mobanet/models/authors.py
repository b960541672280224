"""State dicts of public releases: their names, told from ours by rules, and what is said where they do not fit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mobanet.errors import UserError

Rules = tuple[tuple[str, str], ...]

# most files of the releases are bare state dicts; scripts around them save these, too
_WRAPPERS = ("state_dict", "model_state_dict")
_PREFIX = "module."  # of a parallel wrapper


@dataclass(frozen=True)
class Release:
    """How a public release names the parameters of one of our models.

    Attributes:
        title: of its models, for messages.
        rules: pattern and replacement each, from our names to theirs; each is applied to what those before have left.
        ignored: pattern of names in its files that its networks never use; empty for none.
    """

    title: str
    rules: Rules
    ignored: str = ""

    def unwrapped(self, contents: Mapping[str, Any]) -> dict[str, Tensor]:
        """The state dict itself: out of a checkpoint, and without the prefix that data parallelism leaves."""
        for wrapper in _WRAPPERS:
            if isinstance(contents.get(wrapper), Mapping):
                contents = contents[wrapper]
        return {name.removeprefix(_PREFIX): value for name, value in contents.items()}

    def matched(self, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, str]:
        """Their name of each of our parameters.

        Args:
            wanted: our state dict.
            found: theirs.

        Raises:
            UserError: when one is not there, or others are.
        """
        # from ours to theirs, not back: what is missing is then named as it is in their file
        theirs = {ours: self._translate(ours) for ours in wanted}
        unknown = found.keys() - set(theirs.values())
        if self.ignored:
            unknown = {name for name in unknown if not re.match(self.ignored, name)}
        problems = (("lacks", set(theirs.values()) - found.keys()), ("has unknown", unknown))
        if any(names for _, names in problems):
            raise self.refusal(
                "it " + " and ".join(f"{words} {', '.join(sorted(names))}" for words, names in problems if names)
            )
        return theirs

    def refusal(self, problem: str) -> UserError:
        """What is said of a state dict that does not fit."""
        return UserError(
            f"The state dictionary is not one of the authors' {self.title}: {problem}; give an unchanged checkpoint."
        )

    def _translate(self, name: str) -> str:
        for pattern, replacement in self.rules:
            name = re.sub(pattern, replacement, name)
        return name
