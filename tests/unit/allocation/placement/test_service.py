"""Refusals of Placement, told apart."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.allocation.placement import service
from gpu_passthrough_plugin.allocation.placement.service import (
    ConflictCode,
    Reply,
)


def refusal(status: int, code: str, detail: str = "no") -> Reply:
    return Reply(status, {"errors": [{"code": code, "detail": detail}]})


@pytest.mark.parametrize(
    "clash", sorted(set(ConflictCode) - {ConflictCode.OTHER})
)
def test_refusals_are_told_apart(clash: ConflictCode) -> None:
    assert service.conflict_code(refusal(409, clash.value)) is clash
    assert service.conflict_code(refusal(400, clash.value)) is None


def test_a_refusal_nobody_knows_is_one_still() -> None:
    assert (
        service.conflict_code(refusal(409, "placement.new"))
        is ConflictCode.OTHER
    )
    assert service.conflict_code(Reply(409, {})) is ConflictCode.OTHER
    assert service.error_detail(Reply(409, {"errors": "x"})) == "status 409"
