"""Which hosts may be fenced: only those that are certain to be off."""

from __future__ import annotations

import dataclasses

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.flow.fence import require_fenceable
from gpu_passthrough_plugin.model.allocation import HostRecord

OFFERED = HostRecord("h", 1, False, "", frozenset(), is_watched=True)
LOST = dataclasses.replace(OFFERED, is_cordoned=True, reason="lost: x")
FANS = dataclasses.replace(OFFERED, is_cordoned=True, reason="new fans")


@pytest.mark.parametrize(
    ("record", "members", "is_powered_off", "refusal"),
    [
        (LOST, {"a"}, False, ""),
        (LOST, {"a"}, True, ""),
        (LOST, {"a", "h"}, True, "the agent of h answers"),
        (LOST, None, False, "--powered-off"),
        (LOST, None, True, ""),
        (OFFERED, {"a"}, False, "not marked as lost; .*--powered-off"),
        (OFFERED, {"a"}, True, ""),
        (OFFERED, {"h"}, True, "power the host off"),
        (FANS, set(), False, "--powered-off"),
        (None, {"a"}, True, "no host h"),
    ],
)
def test_what_is_fenced(
    record: HostRecord | None,
    members: set[str] | None,
    is_powered_off: bool,
    refusal: str,
) -> None:
    def require(own_host: str = "a") -> None:
        require_fenceable(
            record, "h", own_host, members, is_powered_off=is_powered_off
        )

    with pytest.raises(errors.Refused, match="h is this host"):
        require("h")
    if refusal:
        with pytest.raises(errors.Refused, match=refusal):
            require()
    else:
        require()
