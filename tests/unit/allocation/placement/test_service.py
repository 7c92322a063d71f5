"""Answers of Placement told apart, and operations that are repeated."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import service
from gpu_passthrough_plugin.allocation.placement.service import (
    ConflictCode,
    Reply,
    Retry,
    ServerBusy,
    Service,
)
from gpu_passthrough_plugin.allocation.placement.session import NoAnswer
from tests.unit.allocation.placement.build import refusal


@pytest.fixture
def placement(monkeypatch: pytest.MonkeyPatch) -> Service:
    """A client that has sent nothing, and pauses for no time."""
    monkeypatch.setattr(service, "_INTERVAL_S", 0.0)
    return Service({"auth_type": "none", "endpoint": "http://localhost:1"})


@pytest.mark.parametrize(
    "code", sorted(set(ConflictCode) - {ConflictCode.OTHER})
)
def test_conflict_codes(code: ConflictCode) -> None:
    assert service.conflict_code(refusal(409, code.value)) is code
    assert service.conflict_code(refusal(400, code.value)) is None


def test_an_unknown_conflict_code_is_a_conflict() -> None:
    unknown = refusal(409, "placement.new")
    assert service.conflict_code(unknown) is ConflictCode.OTHER
    assert service.conflict_code(Reply(409, {})) is ConflictCode.OTHER
    assert service.error_detail(Reply(409, {"errors": "x"})) == "status 409"


def failing(error: Exception, times: int) -> Callable[[int], int]:
    """Return an operation that fails so often, then returns the attempt."""

    def operation(attempt: int) -> int:
        if attempt < times:
            raise error
        return attempt

    return operation


CONFLICT = errors.Conflict("changed")
RETRY = Retry(CONFLICT)


@pytest.mark.parametrize(
    ("error", "times"),
    [(RETRY, 20), (NoAnswer("x"), 3), (ServerBusy("x"), 20)],
)
def test_an_operation_is_repeated(
    placement: Service, error: Exception, times: int
) -> None:
    assert placement.retry(failing(error, times)) == times


def test_a_conflict_at_each_attempt(placement: Service) -> None:
    with pytest.raises(errors.Conflict) as caught:
        placement.retry(failing(RETRY, 21))
    assert caught.value is CONFLICT


@pytest.mark.parametrize(
    ("error", "attempts"), [(NoAnswer("x"), 4), (ServerBusy("x"), 21)]
)
def test_no_answer_at_each_attempt(
    placement: Service, error: Exception, attempts: int
) -> None:
    with pytest.raises(errors.Unavailable, match=f"tried {attempts} times"):
        placement.retry(failing(error, attempts))


def test_patience_ends(
    placement: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_PATIENCE_S", 0.0)
    with pytest.raises(errors.Unavailable, match="tried 1 times"):
        placement.retry(failing(ServerBusy("x"), 1))


def test_other_errors_are_not_repeated(placement: Service) -> None:
    with pytest.raises(errors.Invalid):
        placement.retry(failing(errors.Invalid("x"), 1))
