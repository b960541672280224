"""State dicts of public releases: their names, told from ours by rules, and what is said where they do not fit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mobanet.errors import UserError
from mobanet.plain.wording import name_differences

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

    def matched(self, ours: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, str]:
        """Their name of each of our parameters.

        Args:
            ours: our state dict.
            found: theirs.

        Raises:
            UserError: when one is not there, or others are.
        """
        # from ours to theirs, not back: what is missing is then named as it is in their file
        theirs = {name: self._translate(name) for name in ours}
        wanted = set(theirs.values())
        # the pattern may take in more than is dead: what a model of ours wants is never passed over
        there = {name for name in found if name in wanted or not (self.ignored and re.match(self.ignored, name))}
        if problems := name_differences(wanted, there, most=None):
            raise self.refusal(f"it {' and '.join(problems)}")
        return theirs

    def fitting(self, name: str, found: Tensor, wanted: Tensor) -> Tensor:
        """A tensor of theirs that is to become one of ours.

        Raises:
            UserError: when it has another shape.
        """
        if found.shape != wanted.shape:
            raise self.refusal(f"{name} is {tuple(found.shape)} where {tuple(wanted.shape)} is expected")
        return found

    def refusal(self, problem: str) -> UserError:
        """What is said of a state dict that does not fit."""
        return UserError(
            f"The state dictionary is not one of the authors' {self.title}: {problem}; give an unchanged checkpoint."
        )

    def _translate(self, name: str) -> str:
        for pattern, replacement in self.rules:
            name = re.sub(pattern, replacement, name)
        return name
