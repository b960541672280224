"""The papers whose methods a model uses."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A publication; authors by family name and given names."""

    key: str
    title: str
    authors: tuple[tuple[str, str], ...]
    year: int
    arxiv: str

    def bibtex(self) -> str:
        """The BibTeX entry."""
        authors = " and ".join(f"{family}, {given}" for family, given in self.authors)
        return (
            f"@article{{{self.key},\n  title = {{{self.title}}},\n  author = {{{authors}}},\n"
            f"  year = {{{self.year}}},\n  journal = {{arXiv preprint arXiv:{self.arxiv}}}\n}}"
        )


MOBANET = Paper(
    "mobanet2026",
    "Parameter-Efficient Modality-Balanced Symmetric Fusion for Multimodal Remote Sensing Semantic Segmentation",
    (
        ("Li", "Haocheng"),
        ("Zheng", "Juepeng"),
        ("Miao", "Shuangxi"),
        ("Lu", "Ruibo"),
        ("Cai", "Guosheng"),
        ("Fu", "Haohuan"),
        ("Huang", "Jianxi"),
    ),
    2026,
    "2603.17705",
)
SCENARIOS = Paper(
    "scenarios2026",
    "Latent Space Guided Scenario Sampling for Multimodal Segmentation Under Missing Modalities",
    (("Ulku", "Irem"), ("Tanrıöver", "Ö. Özgür"), ("Akagündüz", "Erdem")),  # noqa: RUF001
    2026,
    "2605.20372",
)
CMX = Paper(
    "cmx2022",
    "CMX: Cross-Modal Fusion for RGB-X Semantic Segmentation with Transformers",
    (
        ("Zhang", "Jiaming"),
        ("Liu", "Huayao"),
        ("Yang", "Kailun"),
        ("Hu", "Xinxin"),
        ("Liu", "Ruiping"),
        ("Stiefelhagen", "Rainer"),
    ),
    2022,
    "2203.04838",
)
CBC_NUMBERS = ("2604.15856", "2605.20372")
"""arXiv numbers of the papers on CBC and CBC-SLP."""


def papers_of(architecture: str, strategy: str | None) -> tuple[Paper, ...]:
    """What to cite for a model, and for the strategy of scenario sampling, where that is known."""
    known = {"mobanet": (MOBANET,), "cmx": (CMX,), "cbc": (SCENARIOS,), "cbc_slp": (SCENARIOS,)}
    found = known.get(architecture, ())
    # latent sampling is of the scenario paper, whatever the network
    return (*found, SCENARIOS) if strategy == "latent" and SCENARIOS not in found else found
