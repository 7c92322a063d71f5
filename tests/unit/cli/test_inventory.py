"""What lists of units show of the host that has them."""

from __future__ import annotations

from gpu_passthrough_plugin.cli import inventory
from gpu_passthrough_plugin.model.allocation import HostRecord


def test_a_cordoned_host_is_shown_without_a_reason_too() -> None:
    none: frozenset[str] = frozenset()
    hosts = (
        HostRecord("open", 1, False, "", none),
        HostRecord("closed", 1, True, "", none),
        HostRecord("fan", 1, True, "loud fan", none),
    )
    assert inventory.cordons(hosts) == {"closed": "yes", "fan": "loud fan"}
