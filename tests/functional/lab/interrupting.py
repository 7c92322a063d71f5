"""A host whose enabling or disabling is cut off, and what it is left with."""

from __future__ import annotations

from typing import Any

from tests.functional.lab import product
from tests.functional.lab.enabling import (
    actions,
    asked,
    differences,
    files,
    is_forgotten,
    run,
)
from tests.functional.lab.host import EmulatedHost

ENABLE = ("host", "enable", "--select", "0000:01:00.0")
DISABLE = ("host", "disable")


def inside(host: EmulatedHost, **step: Any) -> dict[str, Any]:
    """What one command gave that may be killed."""
    with product.running(host) as ours:
        gave: dict[str, Any] = ours.inside(step)[0]
        return gave


def acts(host: EmulatedHost, argv: tuple[str, ...]) -> list[str]:
    """Every act of a command that is carried out to its end."""
    gave = inside(host, argv=list(argv))
    assert gave["status"] == 0, gave["err"]
    found: list[str] = gave["acts"].split()
    return found


def enabled_and_back(host: EmulatedHost, before: dict[str, str]) -> None:
    """Nothing, when enabling completes and disabling restores."""
    run(host, *ENABLE)
    assert actions(asked(host, *ENABLE, "--dry-run")) == {"keep"}
    run(host, *DISABLE)
    assert differences(before, files(host)) == []
    assert is_forgotten(host)


class Boots:
    """Restarts a host, once for each /boot that it is left with."""

    def __init__(self, host: EmulatedHost) -> None:
        self._host = host
        self._seen: set[str] = set()

    def require(self, where: str) -> None:
        """Nothing, when the host comes up from what is on its disk now.

        The boot loader reads nothing but /boot: one that did boot does.
        """
        found = {
            path: what.split()[-1]
            for path, what in files(self._host).items()
            if path.startswith("/boot/")
        }
        if repr(sorted(found.items())) in self._seen:
            return
        self._seen.add(repr(sorted(found.items())))
        before = self._host.get("/proc/sys/kernel/random/boot_id")
        self._host.reboot()
        now = self._host.get("/proc/sys/kernel/random/boot_id")
        assert now != before, where


def put_right(
    host: EmulatedHost, before: dict[str, str], *, enables: bool
) -> None:
    """Nothing, when disabling restores, right away or after enabling."""
    if enables:
        enabled_and_back(host, before)
        return
    run(host, *DISABLE)
    assert differences(before, files(host)) == []
    assert is_forgotten(host)
