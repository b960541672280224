"""Named tile lists of the ISPRS benchmarks. Every split holds validation tiles out of its training list.

`paper` is the division of MoBaNet (arXiv 2603.17705) and `official` the one of the ISPRS contest; the validation tiles
are ours, since both works choose their checkpoint on test tiles. `ssrs` is the 18/6 and 12/4 division of most
optical + elevation papers.
"""

from mobanet.datasets.base import Split

# fmt: off
_POTSDAM_TEST = (
    "2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15", "5_13", "5_14", "5_15", "6_13", "6_14", "6_15", "7_13",
)
_POTSDAM_LABELLED = (
    "2_10", "2_11", "2_12", "3_10", "3_11", "3_12", "4_10", "4_11", "4_12", "5_10", "5_11", "5_12", "6_7", "6_8",
    "6_9", "6_10", "6_11", "6_12", "7_7", "7_8", "7_9", "7_10", "7_11", "7_12",
)
# fmt: on
_POTSDAM_SSRS_TEST = ("2_11", "3_10", "4_10", "5_11", "6_11", "7_12")
_VAIHINGEN_LABELLED = ("1", "3", "5", "7", "11", "13", "15", "17", "21", "23", "26", "28", "30", "32", "34", "37")
_VAIHINGEN_TEST = ("2", "4", "6", "8", "10", "12", "14", "16", "20", "22", "24", "27", "29", "31", "33", "35", "38")
_VAIHINGEN_SSRS_TEST = ("5", "15", "21", "30")


def _split(labelled: tuple[str, ...], validation: tuple[str, ...], test: tuple[str, ...], without: str = "") -> Split:
    kept = (tile for tile in labelled if tile not in (*validation, *test, without))
    return Split(train=tuple(kept), validation=validation, test=test)


POTSDAM = {
    # 7_10 is left out: its labels are wrong
    "paper": _split(_POTSDAM_LABELLED, ("2_12", "5_10", "7_8"), _POTSDAM_TEST, without="7_10"),
    "official": _split(_POTSDAM_LABELLED, ("2_12", "5_10", "7_8"), _POTSDAM_TEST),
    "ssrs": _split(_POTSDAM_LABELLED, ("2_12", "5_10", "7_8"), _POTSDAM_SSRS_TEST),
}

VAIHINGEN = {
    "paper": _split(_VAIHINGEN_LABELLED, ("7", "23", "32"), _VAIHINGEN_TEST),
    "official": _split(_VAIHINGEN_LABELLED, ("7", "23", "32"), _VAIHINGEN_TEST),
    "ssrs": _split(_VAIHINGEN_LABELLED, ("7", "23", "32"), _VAIHINGEN_SSRS_TEST),
}
