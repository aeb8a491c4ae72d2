from __future__ import annotations

import os

from tests.bench.meter import peak_mb, shared_mb


def test_memory_that_processes_share_is_counted_once_and_of_one_that_is_gone_nothing_is_told():
    own = shared_mb(os.getpid())

    assert own is None or 0 < own <= peak_mb(os.getpid())
    assert shared_mb(2**22 + 1) is None
