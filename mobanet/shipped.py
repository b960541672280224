"""The experiments that come with the package: where their YAML files lie, and what they are called."""

from pathlib import Path


def experiment_folder() -> Path:
    """Where the experiments lie: inside an installed package, or at the top of a source tree."""
    package = Path(__file__).parent
    inside = package / "experiments"
    # a wheel has them inside (`wheel.sources` in pyproject.toml)
    return inside if inside.is_dir() else package.parent / "experiments"


def experiment_names() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(path.stem for path in experiment_folder().glob("*.yaml"))


def variant_names() -> list[str]:
    """Names of the variants that come with the package; each changes an experiment in one respect."""
    return sorted(path.stem for path in (experiment_folder() / "variants").glob("*.yaml"))


def described_names() -> list[str]:
    """Names of the data sets that come described for the layout `folder`."""
    return sorted(path.stem for path in (experiment_folder() / "folders").glob("*.yaml"))


def described_data(name: str) -> Path | None:
    """The YAML file that describes a data set.

    Args:
        name: of one that comes described with the package, or of an experiment, or a path to a YAML file of either.

    Returns:
        None for another name.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    if name in described_names():
        return experiment_folder() / "folders" / f"{name}.yaml"
    return experiment_folder() / f"{name}.yaml" if name in experiment_names() else None
