"""Which drivers plan for a host: by name, or by what the host shows."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from stevedore import driver, exception

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.enablement import kernel_modules
from gpu_passthrough_plugin.enablement.driver import (
    BindingDriver,
    BootloaderDriver,
    Driver,
    Drivers,
    InitramfsDriver,
    IommuDriver,
)
from gpu_passthrough_plugin.model.host_facts import HostFacts
from gpu_passthrough_plugin.model.installation import Installation, Reads

AUTO = "auto"
_KINDS = ("bootloader", "initramfs", "binding", "iommu")

D = TypeVar("D", bound=Driver)


class DriverNames(NamedTuple):
    """The drivers that an operator asks for.

    :param iommu: None or ``auto`` for the one that recognises the host, as
        for ``bootloader`` and ``initramfs``.
    """

    binding: str
    iommu: str | None = None
    bootloader: str | None = None
    initramfs: str | None = None


def drivers(
    names: DriverNames, facts: HostFacts, installation: Installation
) -> tuple[Drivers, tuple[str, ...]]:
    """Return the host's drivers, and a line for each that says why.

    :raises Invalid: when one is not installed, does not load, or is no
        driver of that kind.
    :raises Refused: when no driver recognises the host.
    """
    chosen = (
        iommu(facts, names.iommu),
        bootloader(installation, names.bootloader),
        initramfs(installation, names.initramfs),
    )
    reasons = tuple(f"{each.name}: {reason}" for each, reason in chosen)
    (of_iommu, _), (of_bootloader, _), (of_initramfs, _) = chosen
    return (
        Drivers(of_iommu, of_bootloader, of_initramfs, binding(names.binding)),
        reasons,
    )


def iommu(
    facts: HostFacts, name: str | None = None
) -> tuple[IommuDriver, str]:
    """Return the driver of the host's IOMMU, and why; see ``drivers``."""
    candidates = _narrowed(
        "iommu", name, lambda d: d if isinstance(d, IommuDriver) else None
    )
    return _first("iommu", name, candidates, lambda d: d.claims(facts))


def bootloader(
    installation: Installation, name: str | None = None
) -> tuple[BootloaderDriver, str]:
    """Return the driver of the boot loader, and why; see ``drivers``."""
    candidates = sorted(
        _narrowed(
            "bootloader",
            name,
            lambda d: d if isinstance(d, BootloaderDriver) else None,
        ),
        key=lambda d: d.precedence,
    )
    return _first(
        "bootloader", name, candidates, lambda d: d.claims(installation)
    )


def initramfs(
    installation: Installation, name: str | None = None
) -> tuple[InitramfsDriver, str]:
    """Return the driver of what builds images, and why; see ``drivers``."""
    candidates = _narrowed(
        "initramfs",
        name,
        lambda d: d if isinstance(d, InitramfsDriver) else None,
    )
    return _first(
        "initramfs", name, candidates, lambda d: d.claims(installation)
    )


def binding(name: str) -> BindingDriver:
    """Return the binding driver of that name; see ``drivers``."""
    return _narrowed(
        "binding", name, lambda d: d if isinstance(d, BindingDriver) else None
    )[0]


def declared_reads() -> tuple[Reads, tuple[errors.Invalid, ...]]:
    """Return what every installed driver reads of a host, as one value.

    A driver that does not load reads nothing; its error comes second, and
    is raised as well by whatever asks for that driver.
    """
    reads = kernel_modules.READS
    faults: list[errors.Invalid] = []
    for kind in _KINDS:
        for name in names(kind):
            try:
                reads |= _load(kind, name).reads
            except errors.Invalid as error:
                faults.append(error)
    return reads, tuple(faults)


def _narrowed(
    kind: str, name: str | None, narrow: Callable[[Driver], D | None]
) -> list[D]:
    """Return the driver of that name, or every installed one by name.

    :param narrow: returns a driver of the right kind, and None for others.
    """
    chosen = names(kind) if name in (None, AUTO) else [str(name)]
    narrowed = []
    for each in chosen:
        loaded = _load(kind, each)
        candidate = narrow(loaded)
        if candidate is None:
            raise _invalid(kind, loaded.name, "is a driver of another kind")
        narrowed.append(candidate)
    return narrowed


def _first(
    kind: str,
    name: str | None,
    candidates: Sequence[D],
    claims: Callable[[D], str | None],
) -> tuple[D, str]:
    """Return the first driver that claims the host, and its reason.

    One that the operator named need not claim it.
    """
    for candidate in candidates:
        reason = claims(candidate)
        if reason is not None:
            return candidate, reason
    if name not in (None, AUTO):
        return candidates[0], f"[enablement] {kind} = {name}"
    checked = ", ".join(each.name for each in candidates) or "none"
    raise errors.Refused(
        f"no {kind} driver recognises this host; checked: {checked}; if one"
        f" of them is right, set [enablement] {kind} to its name"
    )


def _load(kind: str, name: str) -> Driver:
    # It warns of a missing driver, which is raised here as well.
    logging.getLogger("stevedore.named").setLevel(logging.ERROR)
    try:
        loaded: object = driver.DriverManager(_namespace(kind), name).driver
        if isinstance(loaded, type) and issubclass(loaded, Driver):
            return loaded()
    except exception.NoMatches as error:
        raise _invalid(kind, name, "is not installed") from error
    # A third party's module may raise anything when it is imported.
    except Exception as error:
        raise _invalid(kind, name, f"does not load ({error})") from error
    raise _invalid(kind, name, f"is not a driver class but {loaded!r}")


def _invalid(kind: str, name: str, fault: str) -> errors.Invalid:
    available = ", ".join(names(kind)) or "none"
    return errors.Invalid(
        f"[enablement] {kind} {name!r} {fault}; available: {available}"
    )


def names(kind: str) -> list[str]:
    """Return the names of the installed drivers of a kind, sorted."""
    points = importlib.metadata.entry_points(group=_namespace(kind))
    return sorted(points.names)


def _namespace(kind: str) -> str:
    return f"gpu_passthrough_plugin.{kind}"
