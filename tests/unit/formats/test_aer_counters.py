"""The counters of PCI Express errors, as kernels of ten years write them."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import aer_counters
from gpu_passthrough_plugin.model.function_health import AerCounters
from gpu_passthrough_plugin.model.reading import MISSING, Unknown, Why

SINCE_5_8 = b"""RxErr 3
BadTLP 0
BadDLLP 1
Rollover 0
Timeout 0
NonFatalErr 0
CorrIntErr 0
HeaderOF 0
TOTAL_ERR_COR 2
"""
# Names of several words, and a bit that the kernel has no name for.
BEFORE = b"""Receiver Error 3
Bad TLP 0
dev_cor_errs_bit[9] 7
TOTAL_ERR_COR 10
"""


def test_each_kind_and_the_total_of_messages() -> None:
    counters = aer_counters.parse(SINCE_5_8)
    assert isinstance(counters, AerCounters)
    assert len(counters.by_kind) == 8
    assert (counters.by_kind["RxErr"], counters.by_kind["BadDLLP"]) == (3, 1)
    # One message had two errors.
    assert counters.total == 2


def test_names_of_several_words_and_bits() -> None:
    assert aer_counters.parse(BEFORE) == AerCounters(
        {"Receiver Error": 3, "Bad TLP": 0, "dev_cor_errs_bit[9]": 7}, 10
    )


def test_what_was_not_read_stays_unknown() -> None:
    assert aer_counters.parse(MISSING) is MISSING


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"RxErr 1\n",
        b"RxErr\nTOTAL_ERR_COR 0\n",
        b"RxErr -1\nTOTAL_ERR_COR 0\n",
        b"RxErr \xd9\xa1\nTOTAL_ERR_COR 0\n",
        b"RxErr " + b"9" * 21 + b"\nTOTAL_ERR_COR 0\n",
        b"a" * 41 + b" 1\nTOTAL_ERR_COR 0\n",
        b"".join(b"kind%d 1\n" % n for n in range(33)) + b"TOTAL_ERR_COR 0\n",
    ],
)
def test_another_text_is_malformed(text: bytes) -> None:
    counters = aer_counters.parse(text)
    assert isinstance(counters, Unknown)
    assert counters.why is Why.MALFORMED
    assert len(counters.detail) < 100
