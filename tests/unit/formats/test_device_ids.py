"""Ids in text, read and written."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import device_ids


def test_an_id_is_written_in_lower_case() -> None:
    assert device_ids.parse("10DE") == 0x10DE
    assert device_ids.text(0xDE) == "00de"
    assert device_ids.pair(0x10DE, 1) == "10de:0001"
    assert device_ids.pair(None, 1) == "*:0001"


@pytest.mark.parametrize(
    "text", ["", "10d", "10de0", "0x1d", "10de\n", "1_de"]
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(errors.Invalid):
        device_ids.parse(text)
