"""Refusals of Placement, told apart."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.allocation.placement import service
from gpu_passthrough_plugin.allocation.placement.service import Clash, Reply


def refusal(status: int, code: str, detail: str = "no") -> Reply:
    return Reply(status, {"errors": [{"code": code, "detail": detail}]})


@pytest.mark.parametrize("clash", sorted(set(Clash) - {Clash.OTHER}))
def test_refusals_are_told_apart(clash: Clash) -> None:
    assert service.clash(refusal(409, clash.value)) is clash
    assert service.clash(refusal(400, clash.value)) is None


def test_a_refusal_nobody_knows_is_one_still() -> None:
    assert service.clash(refusal(409, "placement.new")) is Clash.OTHER
    assert service.clash(Reply(409, {})) is Clash.OTHER
    assert service.detail(Reply(409, {"errors": "x"})) == "status 409"
