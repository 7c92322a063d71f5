"""Drivers that wipe devices, as a third party would bring them."""

from __future__ import annotations

import pathlib
import sys
import time

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.model.sanitising import (
    SanitiseDriver,
    SanitiseSettings,
    SanitiseTarget,
)

RECORD = pathlib.Path("/run/bleach")


class Bleach(SanitiseDriver):
    """Notes which functions it wiped."""

    def __init__(self, settings: SanitiseSettings) -> None:
        self._settings = settings

    @property
    def title(self) -> str:
        return "bleach 1.0"

    def sanitise(self, target: SanitiseTarget) -> None:
        RECORD.write_text(" ".join(map(str, target.addresses)))


class Late(Bleach):
    """Never ends."""

    def sanitise(self, target: SanitiseTarget) -> None:
        time.sleep(3600)


class Wrong(Bleach):
    """Has a bug."""

    def sanitise(self, target: SanitiseTarget) -> None:
        raise ValueError(f"{target.vendor_id:04x}\nis not mine")


class Refusing(Bleach):
    """Does not know the device."""

    def sanitise(self, target: SanitiseTarget) -> None:
        raise errors.Refused("not sanitised: unknown device")


class Dying(Bleach):
    """Takes its process with it."""

    def sanitise(self, target: SanitiseTarget) -> None:
        sys.stdout.close()
        raise SystemExit(0)
