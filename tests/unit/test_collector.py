import gc

import pytest

from mobanet.plain.collector import collector_at_rest


@pytest.mark.parametrize("before", [True, False])
def test_the_collector_is_afterwards_as_it_was(before):
    def fail():
        with collector_at_rest():
            assert not gc.isenabled()
            raise KeyError

    try:
        (gc.enable if before else gc.disable)()
        with pytest.raises(KeyError):
            fail()
        assert gc.isenabled() == before
    finally:
        gc.enable()
