"""A few hundred damaged inputs each time; MOBANET_FUZZ=4000 MOBANET_FUZZ_FIRST=1000 for other and more of them."""

import os
import signal

from tests.hostile.children import verdicts
from tests.hostile.fuzz import found, wrong

COUNT, FIRST = (int(os.environ.get(name, usual)) for name, usual in (("MOBANET_FUZZ", 192), ("MOBANET_FUZZ_FIRST", 0)))


def test_damaged_inputs_end_by_success_or_by_one_sentence(tmp_path):
    told = {number: wrong(number, verdict) for number, verdict in found(range(FIRST, FIRST + COUNT), tmp_path)}
    assert len(told) == COUNT
    assert not [text for text in told.values() if text], "again: python -m tests.hostile.fuzz 1 --first NUMBER"


def test_the_fuzzer_itself_notices_what_it_is_for():
    def loop():
        while True:
            pass

    def fill():
        bytearray(1 << 32)

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    ends = [verdict.end for verdict in verdicts([lambda: None, loop, fill, die, lambda: None], 0.5)]
    assert ends == ["success", "hang", "exception", "death", "success"]
