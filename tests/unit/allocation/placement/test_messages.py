"""Every message that this driver raises by itself, in one golden file.

Those of the contract stand in ``tests/unit/allocation/messages.txt``, and
those that need a server in ``tests/functional/placement_messages.txt``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from keystoneauth1 import exceptions

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import (
    names,
    reservations,
    session,
)
from gpu_passthrough_plugin.allocation.placement.service import Retry
from tests.golden import assert_golden, sections
from tests.unit.allocation.build import request
from tests.unit.allocation.placement.build import A, refusal


def message(raising: Callable[[], object]) -> str:
    with pytest.raises((errors.Error, Retry)) as caught:
        raising()
    return f"{type(caught.value).__name__}: {caught.value}"


def translated(error: Exception) -> str:
    def raising() -> None:
        with session.translate_errors("at URL"):
            raise error

    return message(raising)


def refused(status: int, code: str, detail: str) -> str:
    error = reservations.claim_error(
        refusal(status, code, detail), A, "gpu:1; nodes 0"
    )
    error = error.error if isinstance(error, Retry) else error
    return f"{type(error).__name__}: {error}"


def test_golden_messages() -> None:
    messages = {
        "auth_type missing": message(lambda: session.new_adapter({})),
        "auth_type unknown": message(
            lambda: session.new_adapter({"auth_type": "zzz"})
        ),
        "auth_type incomplete": message(
            lambda: session.new_adapter({"auth_type": "password"})
        ),
        "no answer": translated(exceptions.ConnectFailure()),
        "credentials": translated(exceptions.Unauthorized()),
        "no endpoint": translated(exceptions.EndpointNotFound()),
        "other error": translated(exceptions.MissingAuthPlugin()),
        "request too long": message(
            lambda: names.user_id(request("gpu:1", *range(200)))
        ),
        "claim lost": refused(409, "placement.undefined_code", "no"),
        "consumer changed": refused(
            409, "placement.concurrent_update", "generation"
        ),
        "claim rejected": refused(400, "", "JSON does not validate"),
    }
    assert_golden(Path(__file__).with_name("messages.txt"), sections(messages))
