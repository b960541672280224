import pytest
import torch

from mobanet.errors import UserError
from mobanet.scenarios.masking import MaskingSettings, draw_blocks, mask_blocks

STREAMS = {"optical": ["rgb", "ir"], "elevation": ["dsm"]}


def blocks(seed=0, batch=24):
    return draw_blocks(batch, 100, 120, list(STREAMS), MaskingSettings(), torch.Generator().manual_seed(seed))


def test_a_quarter_of_the_batch_loses_blocks_half_of_it_in_each_stream():
    for seed in range(20):
        drawn = blocks(seed)
        assert [b.stream for b in drawn] == ["optical"] * 3 + ["elevation"] * 3
        assert len({b.sample for b in drawn}) == 6


def test_odd_numbers_favour_the_second_stream_as_in_the_authors_code():
    assert [b.stream for b in blocks(batch=12)] == ["optical"] + ["elevation"] * 2


def test_blocks_keep_area_and_aspect():
    drawn = [b for seed in range(60) for b in blocks(seed)]
    areas = torch.tensor([b.height * b.width / 12000 for b in drawn])
    aspects = torch.tensor([b.width / b.height for b in drawn])
    assert 0.095 < areas.min() < 0.12
    assert 0.28 < areas.max() < 0.305
    assert 0.45 < aspects.min() < 0.6
    assert 1.8 < aspects.max() < 2.1
    assert all(0 <= b.top <= 100 - b.height and 0 <= b.left <= 120 - b.width for b in drawn)


def test_masking_zeroes_every_modality_of_the_stream_and_leaves_the_input_alone():
    drawn = blocks(1, batch=8)
    inputs = {name: torch.ones(8, c, 100, 120) for name, c in (("rgb", 3), ("ir", 1), ("dsm", 1))}
    masked = mask_blocks(inputs, drawn, STREAMS)
    assert all((x == 1).all() for x in inputs.values())
    for block in drawn:
        rows, columns = slice(block.top, block.top + block.height), slice(block.left, block.left + block.width)
        for stream, members in STREAMS.items():
            for name in members:
                expected = block.height * block.width if stream == block.stream else 0
                zeros = masked[name][block.sample] == 0
                assert zeros[0].sum() == expected
                assert zeros[:, rows, columns].all() == (stream == block.stream)


def test_same_generator_state_same_blocks():
    assert blocks(5) == blocks(5)
    assert blocks(5) != blocks(6)


@pytest.mark.parametrize(
    "wrong", [{"ratio": 1.5}, {"min_area": 0.5, "max_area": 0.2}, {"min_aspect": 0}, {"blocks": 0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError, match=r"--model.masking"):
        MaskingSettings(**wrong)
