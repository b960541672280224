import torch

from mobanet.evaluation.tile_matrices import TileMatrices, stacked


def test_pixels_are_counted_by_tile_and_scenario_in_natural_order():
    tiles = TileMatrices(scenarios=2, num_classes=2)
    tiles.add("2_10", 0, torch.tensor([0, 1]), torch.tensor([0, 0]))
    tiles.add("2_9", 0, torch.tensor([1]), torch.tensor([1]))
    tiles.add("2_10", 1, torch.tensor([1, 1, 1]), torch.tensor([0, 1, 255]))
    tiles.add("2_10", 0, torch.tensor([0]), torch.tensor([0]))  # the next strip
    found = tiles.gathered()
    assert list(found) == ["2_9", "2_10"]
    assert found["2_10"].tolist() == [[[2, 1], [0, 0]], [[0, 1], [0, 1]]]
    assert found["2_9"].tolist() == [[[0, 0], [0, 1]], [[0, 0], [0, 0]]]
    assert stacked(found, tiles.shape).sum(0).tolist() == [[[2, 1], [0, 1]], [[0, 1], [0, 1]]]


def test_no_tile_gives_empty_matrices():
    tiles = TileMatrices(scenarios=2, num_classes=3)
    tiles.add("a", 0, torch.tensor([0]), torch.tensor([0]))
    tiles.reset()
    assert tiles.gathered() == {}
    assert stacked(tiles.gathered(), tiles.shape).shape == (0, 2, 3, 3)
