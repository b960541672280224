"""Training on eroded labels, as MoBaNet's authors do: what is learnt, and what is said where there are none."""

import json
import shutil

import numpy as np
import pytest

from mobanet.data.options import EvaluationSettings
from mobanet.errors import UserError
from mobanet.rasters.contents import IGNORE_INDEX
from mobanet.store.index import INDEX_FILE


@pytest.fixture
def without_eroded(make_data, city, tmp_path):
    """Data modules on a copy of the store in which some tiles have no eroded label."""
    make_data().prepare_data()

    def make(tiles, **options):
        store = tmp_path / "store"
        shutil.copytree(city / "mobanet_store", store)
        (store / INDEX_FILE).unlink()  # without it, tiles' own descriptions are read
        for record in sorted(store.glob("tiles/*/tile.json")):
            content = json.loads(record.read_text())
            if tiles is None or record.parent.name in tiles:
                del content["labels"]["eroded"]
            record.write_text(json.dumps(content))
        return make_data(root=str(tmp_path / "gone"), store=str(store), **options)

    return make


def test_the_margin_of_eroded_labels_is_not_learnt(make_data):
    labels = {}
    for kind in ("full", "eroded"):
        data = make_data(train_labels=kind)
        data.prepare_data()
        data.setup("fit")
        crops = data.train_dataloader().dataset
        labels[kind] = np.stack([crops[i]["label"].numpy() for i in range(8)])
        probe = data.probe_windows().dataset
        assert probe.reader.label == kind
        assert data.windows("validation").reader.label == "eroded"  # of the evaluation, its own setting
    margin = (labels["eroded"] == IGNORE_INDEX) & (labels["full"] != IGNORE_INDEX)
    assert 0.02 < margin.mean() < 0.9
    assert np.array_equal(labels["eroded"][~margin], labels["full"][~margin])


@pytest.mark.parametrize("role", ["train", "validation"])
def test_data_without_eroded_labels_is_refused_with_the_option_that_asks_for_them(without_eroded, role):
    kinds = {"train_labels": "eroded" if role == "train" else "full"}
    kinds["evaluation"] = EvaluationSettings(labels="eroded" if role == "validation" else "full")
    data = without_eroded(None, **kinds)
    option = "--data.train_labels full" if role == "train" else "--data.evaluation.labels full"
    with pytest.raises(UserError, match=f"none of the {role} tiles below .* has eroded labels; .*{option}"):
        data.setup("fit")


def test_tiles_that_lack_eroded_labels_are_named(without_eroded):
    data = without_eroded({"2_10"}, train_labels="eroded")
    with pytest.raises(UserError, match=r"the train tiles 2_10 below .* have no eroded labels"):
        data.setup("fit")


def test_labels_of_another_kind_are_refused_before_any_file_is_read(make_data):
    with pytest.raises(UserError, match=r"--data.train_labels is erode; choose one of full, eroded"):
        make_data(train_labels="erode")
    with pytest.raises(UserError, match=r"--data.evaluation.labels is none; choose one of full, eroded"):
        make_data(evaluation=EvaluationSettings(labels="none"))
