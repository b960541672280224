"""YAML files that people write: read, with one sentence that says which of them is wrong, and where."""

from pathlib import Path
from typing import Any

from mobanet.errors import UserError


def read_yaml(path: Path, hint: str) -> Any:
    """The content of a file.

    Args:
        path: of the file.
        hint: what to give in place of one that is no text.

    Raises:
        UserError: for a file that cannot be read, is no text, or is not YAML.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); give another file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text file; give {hint}.") from error
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{path} is not valid YAML{where}: {problem or 'it cannot be parsed'}; mend it.") from error
