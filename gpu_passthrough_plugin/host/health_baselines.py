"""How each unit did when it was last known to be good, in this boot.

One small file a unit below ``health`` in ``[DEFAULT] state_path``.  To lose
one costs evidence and nothing else: it is not synced, and what is wrong with
it makes it absent.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host.ownership import make_private
from gpu_passthrough_plugin.model import address
from gpu_passthrough_plugin.model.address import Address
from gpu_passthrough_plugin.model.function_health import (
    AerCounters,
    FunctionHealth,
    Link,
)
from gpu_passthrough_plugin.model.reading import known
from gpu_passthrough_plugin.model.unit import Unit

_FORMAT = 1
# A unit of 256 functions stays below.
_MOST_BYTES = 1 << 20
_MALFORMED = (
    ValueError, KeyError, TypeError, AttributeError, RecursionError,
    errors.Invalid,
)  # fmt: skip

Baseline = Mapping[Address, FunctionHealth]


class HealthBaselines:
    """The files below ``folder``, by the lowest primary of the unit."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._kept: dict[Address, tuple[tuple[int, int], str, Baseline]] = {}

    def read(self, unit: Unit, boot_id: str) -> Baseline | None:
        """Return how a unit did; None where this boot has no record of it.

        Nor of another card that was in its place.  Without its power, which
        is judged as it is.
        """
        place = unit.key.address
        try:
            status = os.stat(self._path(place))
            version = status.st_mtime_ns, status.st_size
            kept = self._kept.get(place)
            if kept is None or kept[0] != version:
                kept = version, *self._load(place)
                self._kept[place] = kept
        except (OSError, *_MALFORMED):
            self._kept.pop(place, None)
            return None
        return kept[2] if kept[1] == _subject(unit, boot_id) else None

    def write(self, unit: Unit, boot_id: str, baseline: Baseline) -> None:
        """Write how a unit does.

        :raises Unavailable: when the file cannot be written.
        """
        document = {
            "format": _FORMAT,
            "subject": _subject(unit, boot_id),
            "functions": {
                str(place): _document(health)
                for place, health in baseline.items()
            },
        }
        path = self._path(unit.key.address)
        temporary = f"{path}.{os.getpid()}.new"
        try:
            make_private(self._folder)
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(document, file)
            os.replace(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise errors.Unavailable(
                f"cannot write {path}: {error.strerror}"
            ) from error

    def _load(self, place: Address) -> tuple[str, Baseline]:
        with open(self._path(place), encoding="utf-8") as file:
            document = json.loads(file.read(_MOST_BYTES))
        if document["format"] != _FORMAT:
            raise ValueError(f"format {document['format']}")
        return str(document["subject"]), {
            address.parse(text): _health(values)
            for text, values in document["functions"].items()
        }

    def _path(self, place: Address) -> str:
        return os.path.join(self._folder, f"{place}.json")


def _subject(unit: Unit, boot_id: str) -> str:
    """Return what a record is about: this card, in this boot."""
    functions = " ".join(
        f"{f.address}={f.vendor_id:04x}:{f.product_id:04x}"
        for f in unit.functions
    )
    return f"{boot_id} {functions}"


def _document(health: FunctionHealth) -> dict[str, object]:
    return {
        "speed_gts": known(health.link.speed_gts),
        "width": known(health.link.width),
        "correctable": _counters_document(known(health.correctable)),
        "nonfatal": _counters_document(known(health.nonfatal)),
        "fatal": _counters_document(known(health.fatal)),
    }


def _counters_document(counters: AerCounters | None) -> object:
    if counters is None:
        return None
    return {"by_kind": dict(counters.by_kind), "total": counters.total}


def _health(values: dict[str, Any]) -> FunctionHealth:
    speed_gts, width = values["speed_gts"], values["width"]
    return FunctionHealth(
        link=Link(
            None if speed_gts is None else float(speed_gts),
            None if width is None else int(width),
        ),
        port=None,
        power_state=None,
        runtime_status=None,
        is_dead=False,
        correctable=_counters(values["correctable"]),
        nonfatal=_counters(values["nonfatal"]),
        fatal=_counters(values["fatal"]),
    )


def _counters(values: dict[str, Any] | None) -> AerCounters | None:
    if values is None:
        return None
    return AerCounters(
        {str(kind): int(n) for kind, n in values["by_kind"].items()},
        int(values["total"]),
    )
