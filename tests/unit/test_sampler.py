from mobanet.data.sampler import EPOCH_STRIDE, CropSampler, ShareSampler, balanced_shares


def batches(rank, world, batch_size, position=(0, 0), steps=5):
    indices = list(CropSampler(steps, batch_size, rank, world, lambda: position))
    return [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]


def test_two_ranks_see_together_what_one_rank_sees():
    alone = batches(0, 1, 8)
    shared = [a + b for a, b in zip(batches(0, 2, 4), batches(1, 2, 4), strict=True)]
    assert shared == alone


def test_epochs_never_share_an_index():
    first, second = batches(0, 1, 8), batches(0, 1, 8, (1, 0))
    assert {i // EPOCH_STRIDE for batch in second for i in batch} == {1}
    assert not {i for b in first for i in b} & {i for b in second for i in b}


def test_a_resumed_epoch_goes_on_where_it_stopped():
    whole = batches(1, 2, 4, (3, 0))
    assert batches(1, 2, 4, (3, 2)) == whole[2:]
    assert len(CropSampler(5, 4, 1, 2, lambda: (3, 2))) == 20


def test_shares_cover_every_item_once_and_are_padded_to_one_length():
    shares = balanced_shares([5, 1, 4, 2, 2], 3)
    assert sorted(i for share in shares for i in share) == [0, 1, 2, 3, 4]
    assert max(sum([5, 1, 4, 2, 2][i] for i in share) for share in shares) == 5
    samplers = [ShareSampler([[3, 4, 5], [7]], rank) for rank in range(2)]
    assert [list(s) for s in samplers] == [[3, 4, 5], [7, -1, -1]]
    assert [len(s) for s in samplers] == [3, 3]
