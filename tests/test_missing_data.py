"""Modalities that are really absent take the same path as a scenario that leaves them out."""

import shutil

import numpy as np
import pytest
import rasterio
import torch
from lightning.pytorch import seed_everything

from mobanet.data.crops import collate
from mobanet.datasets import get_layout
from mobanet.models.mobanet.network import MoBaNetSettings
from mobanet.scenarios.callback import ScenarioSampling
from mobanet.scenarios.history import read_history
from mobanet.scenarios.refresh import measure_distortion
from mobanet.scenarios.sampling import ScenarioSettings
from mobanet.store.build import build_store
from tests.conftest import NARROW

WITHOUT_DSM = "rgb+ir"


def surface(root, tile):
    row, column = tile.split("_")
    return root / f"1_DSM/dsm_potsdam_{int(row):02d}_{int(column):02d}.tif"


@pytest.fixture
def roles(make_data):
    """Ids of the city's training and test tiles."""
    data = make_data()
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    return {role: [tile.id for tile in tiles] for role, tiles in data._roles.items()}


@pytest.fixture
def gappy(city, roles, tmp_path):
    """A copy of the city in which the test tile and two training tiles have no surface model."""
    root = tmp_path / "gappy"
    shutil.copytree(city, root, ignore=shutil.ignore_patterns("mobanet_store", ".mobanet*"))
    for tile in (*roles["test"], *roles["train"][:2]):
        surface(root, tile).unlink()
    build_store(get_layout("potsdam"), root, None, ["rgb", "ir", "dsm"], allow_missing=True, workers=1)
    return root


@pytest.fixture
def model(make_data, make_module):
    """A module whose every part has an effect; `token` stands for absence with something."""

    def make(missing):
        seed_everything(3)
        module = make_module(make_data(), network=MoBaNetSettings(missing=missing, **NARROW))
        with torch.no_grad():
            for name, p in module.named_parameters():
                if "missing_" in name:
                    p.normal_()
        return module

    return make


@pytest.mark.parametrize("missing", ["zero", "token"])
def test_a_tile_without_a_file_is_evaluated_as_if_the_scenario_lacked_it(
    make_data, make_trainer, gappy, model, missing
):
    module = model(missing)
    matrices = []
    for options in ({}, {"root": str(gappy), "allow_missing": True}):
        make_trainer().test(module, datamodule=make_data(**options), verbose=False)
        matrices.append(dict(module.evaluation.found["test"].matrices))
    whole, gaps = matrices
    assert not torch.equal(whole["rgb+ir+dsm"], whole[WITHOUT_DSM])
    for scenario in ("rgb", "ir", WITHOUT_DSM):
        assert torch.equal(gaps[scenario], whole[scenario])
    for scenario, left in (("rgb+ir+dsm", WITHOUT_DSM), ("rgb+dsm", "rgb"), ("ir+dsm", "ir")):
        assert torch.equal(gaps[scenario], whole[left])
    # nothing of the scenario dsm is there: evaluated with all there is, and said so
    assert torch.equal(gaps["dsm"], whole[WITHOUT_DSM])
    assert module.evaluation.found["test"].unmasked == {
        name: module.evaluation.found["test"].windows if name == "dsm" else 0 for name in whole
    }
    assert module.evaluation.found["test"].windows > 0


def test_a_window_of_nodata_is_evaluated_as_if_the_scenario_lacked_it(make_data, city, roles, model, tmp_path):
    root = tmp_path / "nodata"
    shutil.copytree(city, root, ignore=shutil.ignore_patterns("mobanet_store", ".mobanet*"))
    path = surface(root, roles["test"][0])
    with rasterio.open(path) as raster:
        heights, profile = raster.read(), raster.profile
    heights[:, :, :80] = -9999
    profile.update(nodata=-9999)
    path.unlink()
    with rasterio.open(path, "w", **profile) as raster:
        raster.write(heights)
    build_store(get_layout("potsdam"), root, None, ["rgb", "ir", "dsm"], workers=1)
    module = model("token").eval()
    logits = []
    for options in ({"root": str(root)}, {}):
        data = make_data(**options)
        data.prepare_data()
        data.setup("test")
        windows = data.windows("test")
        batch = collate([windows[i] for i in range(3)])  # the first row: columns 0 to 64, 64 to 128, 96 to 160
        batch = module.on_after_batch_transfer(batch, 0)
        full, without = (next(s for s in module.scenarios if s.name == name) for name in ("rgb+ir+dsm", WITHOUT_DSM))
        with torch.no_grad():
            logits.append(list(module.predict_scenarios(batch, [full, without])))
        if options:
            assert batch.available.tolist() == [[True, True, False], [True, True, True], [True, True, True]]
    (gaps_full, gaps_without), (_, whole_without) = logits
    torch.testing.assert_close(gaps_full[0], whole_without[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(gaps_full[1], whole_without[1], atol=1e-2)
    torch.testing.assert_close(gaps_without, whole_without, atol=1e-5, rtol=1e-5)


def test_training_sees_the_same_of_an_absent_file_and_of_a_drawn_scenario(make_data, gappy, model, roles):
    module = model("token").eval()
    batches = []
    for options in ({}, {"root": str(gappy), "allow_missing": True}):
        data = make_data(**options)
        data.prepare_data()
        data.setup("fit")
        crops = data.train_dataloader().dataset
        chosen = [i for i in range(40) if crops[i]["tile"] in roles["train"][:2]][:4]
        batches.append(module.on_after_batch_transfer(collate([crops[i] for i in chosen]), 0))
    whole, gaps = batches
    assert gaps.tiles == whole.tiles
    assert gaps.available.tolist() == [[True, True, False]] * 4
    assert whole.available.all()
    drawn = torch.tensor([[True, True, False]] * 4)
    with torch.no_grad():
        a = module.network(gaps.inputs, gaps.available, auxiliary=True)
        b = module.network(whole.inputs, drawn, auxiliary=True)
    assert torch.equal(a.logits, b.logits)
    assert torch.equal(a.latent, b.latent)
    assert all(torch.equal(a.auxiliary[name], b.auxiliary[name]) for name in a.auxiliary)


def test_a_run_on_gaps_trains_and_scores_what_it_has(make_data, make_module, make_trainer, gappy, tmp_path):
    seed_everything(1)
    data = make_data(root=str(gappy), allow_missing=True)
    module = make_module(data)
    sampling = ScenarioSampling(ScenarioSettings(strategy="latent", num_windows=36), tmp_path / "run")
    make_trainer(callbacks=[sampling], max_epochs=1).fit(module, datamodule=data)
    (record,) = read_history(tmp_path / "run/scenario_scores.jsonl")
    assert record.num_windows == 36  # nine windows of 64 in each of the four tiles
    probe = data.probe_windows()

    class Complete:
        """Only the windows that have a surface model."""

        def __init__(self):
            self.numbers = [i for i in range(36) if probe.read(i, i + 1)["available"].all()]

        def __len__(self):
            return len(self.numbers)

        def read(self, first, last):
            return collate([probe.dataset[int(probe.order[i])] for i in self.numbers[first:last]])

    complete = Complete()
    assert len(complete) == 18
    fresh = make_module(data)
    fresh.load_state_dict(module.state_dict())

    def measured(windows):
        prepare = lambda raw: fresh.on_after_batch_transfer(raw, 0)  # noqa: E731
        return measure_distortion(fresh.network, fresh.scenario_masks, windows, 36, prepare)

    both, only = measured(probe), measured(complete)
    names = [scenario.name for scenario in fresh.scenarios]
    # a window without dsm says nothing about the scenario dsm, and nothing is lost in it when dsm is dropped
    dsm, without = names.index("dsm"), names.index(WITHOUT_DSM)
    np.testing.assert_allclose(both.mean[dsm], only.mean[dsm], rtol=1e-5)
    np.testing.assert_allclose(both.mean[without], only.mean[without] / 2, rtol=1e-5)
