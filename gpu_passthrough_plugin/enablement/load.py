"""Finding enablement's drivers: by name, or by what the host shows."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from stevedore import driver, exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import kernel_modules
from gpu_passthrough_plugin.enablement.driver import (
    BindingDriver,
    BootloaderDriver,
    Driver,
    InitramfsDriver,
    IommuDriver,
)
from gpu_passthrough_plugin.model.facts import HostFacts
from gpu_passthrough_plugin.model.installation import Installation
from gpu_passthrough_plugin.model.reads import Reads

AUTO = "auto"

D = TypeVar("D", bound=Driver)


def iommu(
    facts: HostFacts, name: str | None = None
) -> tuple[IommuDriver, str]:
    """The driver of the host's IOMMU, and what shows that it is the one.

    :param name: None or ``auto`` to ask every one that is installed.
    :raises Invalid: when one is not installed, does not load or is no
        driver of that kind.
    :raises Refused: when the host is none of theirs.
    """
    kind = "iommu"
    made = _made(kind, name)
    mine = [d for d in made if isinstance(d, IommuDriver)]
    _refuse_others(kind, made, mine)
    return _first(kind, name, mine, lambda d: d.claims(facts))


def bootloader(
    installation: Installation, name: str | None = None
) -> tuple[BootloaderDriver, str]:
    """The driver of what boots the host; see ``iommu``."""
    kind = "bootloader"
    made = _made(kind, name)
    mine = [d for d in made if isinstance(d, BootloaderDriver)]
    _refuse_others(kind, made, mine)
    mine.sort(key=lambda d: d.precedence)
    return _first(kind, name, mine, lambda d: d.claims(installation))


def initramfs(
    installation: Installation, name: str | None = None
) -> tuple[InitramfsDriver, str]:
    """The driver of what builds the host's images; see ``iommu``."""
    kind = "initramfs"
    made = _made(kind, name)
    mine = [d for d in made if isinstance(d, InitramfsDriver)]
    _refuse_others(kind, made, mine)
    return _first(kind, name, mine, lambda d: d.claims(installation))


def binding(name: str) -> BindingDriver:
    """The driver of that name; raises what ``iommu`` raises."""
    kind = "binding"
    made = _made(kind, name)
    mine = [d for d in made if isinstance(d, BindingDriver)]
    _refuse_others(kind, made, mine)
    return mine[0]


def declared_reads() -> tuple[Reads, tuple[errors.Invalid, ...]]:
    """Return what every installed driver reads of a host, as one value.

    A driver that does not load reads nothing; its error comes second, and
    is raised as well by whatever asks for that driver.
    """
    reads = kernel_modules.READS
    faults: list[errors.Invalid] = []
    for kind in ("bootloader", "initramfs", "binding", "iommu"):
        for name in _names(kind):
            try:
                reads |= _load(kind, name).reads
            except errors.Invalid as error:
                faults.append(error)
    return reads, tuple(faults)


def _first(
    kind: str,
    name: str | None,
    drivers: Sequence[D],
    claims: Callable[[D], str | None],
) -> tuple[D, str]:
    """The first that takes the host for its own; a named one is asked for
    its reason only."""
    for one in drivers:
        why = claims(one)
        if why is not None:
            return one, why
    if name not in (None, AUTO):
        return drivers[0], f"[enablement] {kind} = {name}"
    asked = ", ".join(one.name for one in drivers) or "none"
    raise errors.Refused(
        f"this host shows no {kind} that is known; looked for: {asked}; if"
        f" it is one of them, name it with [enablement] {kind}"
    )


def _made(kind: str, name: str | None) -> list[Driver]:
    """The driver of that name, or every installed one by name."""
    if name not in (None, AUTO):
        return [_load(kind, str(name))]
    return [_load(kind, each) for each in _names(kind)]


def _load(kind: str, name: str) -> Driver:
    # It warns of a missing driver, which is raised here as well.
    logging.getLogger("stevedore.named").setLevel(logging.ERROR)
    try:
        found: object = driver.DriverManager(_group(kind), name).driver
        if isinstance(found, type) and issubclass(found, Driver):
            return found()
    except exception.NoMatches as error:
        raise _invalid(kind, name, "is not installed") from error
    # What a third party's module raises when it is imported is its own.
    except Exception as error:
        raise _invalid(kind, name, f"does not load ({error})") from error
    raise _invalid(kind, name, f"is no driver but {found!r}")


def _refuse_others(
    kind: str, made: Sequence[Driver], mine: Sequence[Driver]
) -> None:
    for one in made:
        if one not in mine:
            raise _invalid(kind, one.name, "is a driver of another kind")


def _invalid(kind: str, name: str, what: str) -> errors.Invalid:
    names = ", ".join(_names(kind)) or "none"
    return errors.Invalid(
        f"[enablement] {kind} {name!r} {what}; available: {names}"
    )


def _names(kind: str) -> list[str]:
    points = importlib.metadata.entry_points(group=_group(kind))
    return sorted(points.names)


def _group(kind: str) -> str:
    return f"gpu_passthrough_plugin.{kind}"
