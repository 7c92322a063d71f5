"""Whether Placement knows our classes and traits, and how we lay them out."""

from __future__ import annotations

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.allocation.placement import names
from gpu_passthrough_plugin.allocation.placement.service import Service


def found(service: Service) -> str:
    """The microversion used; empty as long as ``sync`` was not run."""
    return service.microversion if _layout(service) else ""


def check(service: Service) -> None:
    """Return when Placement has what this code needs.

    :raises Unavailable: when it has not, or what a newer release made.
    """
    layout = _layout(service)
    _refuse_newer(service, layout)
    if layout < names.KNOWN_LAYOUT:
        raise errors.Unavailable(
            f"Placement {service.name} does not know this ledger's classes"
            " and traits yet; run 'gpu-passthrough db sync'"
        )


def sync(service: Service) -> str:
    """Make the classes and traits of ours; the microversion used.

    :raises Unavailable: when a newer release made them.
    """
    _refuse_newer(service, _layout(service))
    service.make_classes({names.HOST, names.LEASE})
    service.make_traits({names.IS_HOST, names.IS_UNIT, names.IS_DISABLED})
    # The last one: it says that the others are there.
    service.make_traits({f"{names.LAYOUT}{names.KNOWN_LAYOUT}"})
    return service.microversion


def _layout(service: Service) -> int:
    listed = service.get("/traits", ("name", f"startswith:{names.LAYOUT}"))
    return max(
        (int(name.removeprefix(names.LAYOUT)) for name in listed["traits"]),
        default=0,
    )


def _refuse_newer(service: Service, layout: int) -> None:
    if layout > names.KNOWN_LAYOUT:
        raise errors.Unavailable(
            f"Placement {service.name} has this ledger in layout {layout},"
            f" newer than {names.KNOWN_LAYOUT}, the newest that this release"
            " knows; upgrade gpu-passthrough-plugin on this host"
        )
