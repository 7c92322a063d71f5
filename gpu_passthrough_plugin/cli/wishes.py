"""What an operator wants of Nova's configuration, as options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.nova_release import NEWEST, Release, parse
from gpu_passthrough_plugin.model import trait
from gpu_passthrough_plugin.model.request import NumaPolicy
from gpu_passthrough_plugin.nova.options import Asked, Mode

T = TypeVar("T")

_LEDGER = "inventory"
_YES = {"yes": True, "no": False}
_MODES = {mode.value: mode for mode in Mode}
_POLICIES = {policy.value: policy for policy in NumaPolicy}
# The configuration has the same rule for its own.
_HOST = re.compile(r"[^\s/\0]{1,255}")
_FILTER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class Wishes(NamedTuple):
    """What the options say.

    :param filters: None for those that Nova has by default.
    :param is_of_ledger: whether every host of the ledger is meant.
    :param host: what Nova calls the host that is read; empty: not said.
    """

    asked: Asked
    filters: tuple[str, ...] | None
    is_of_ledger: bool
    host: str


def add_release(parser: argparse.ArgumentParser) -> None:
    """Add the option that names a release of Nova."""
    parser.add_argument(
        "--release",
        metavar="RELEASE",
        help="of Nova, such as 31, 31.2.0 or 2025.1"
        f" (default: the newest known, {NEWEST.number})",
    )


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add all options that ``read`` reads."""
    add_release(parser)
    yes = "|".join(_YES)
    for option, metavar, text in (
        (
            "--mode",
            "|".join(_MODES),
            "give Nova one function of each group, its companions reserved"
            " with it; or every function, which the scheduler's"
            " IommuGroupFilter keeps together (default: primary)",
        ),
        (
            "--from",
            _LEDGER,
            "write for every host of the ledger instead of this one",
        ),
        (
            "--host",
            "NAME",
            "what Nova calls the host that is read (default: [DEFAULT] host)",
        ),
        (
            "--managed",
            yes,
            "whether libvirt binds the functions to vfio-pci and back"
            " (default: Nova's own, yes)",
        ),
        (
            "--live-migratable",
            yes,
            "whether instances may be live-migrated with their functions",
        ),
        (
            "--one-time-use",
            yes,
            "whether a card stays reserved after its instance until somebody"
            " looked at it",
        ),
        (
            "--numa-policy",
            "|".join(_POLICIES),
            "how near to an instance's NUMA nodes its cards have to be"
            " (default: Nova's own, legacy)",
        ),
        (
            "--host-trait",
            "TRAIT",
            "have Placement say this of the hosts, and flavors require it,"
            " such as CUSTOM_GPU_HOST (default: nothing)",
        ),
        (
            "--enabled-filters",
            "LIST",
            "the scheduler's enabled_filters that you have, divided by"
            " commas (default: Nova's own)",
        ),
    ):
        parser.add_argument(
            option, dest=_name(option), metavar=metavar, help=text
        )


def read(given: argparse.Namespace) -> Wishes:
    """What the options ask for.

    :raises Faults: with each that says something that it cannot.
    :raises Refused: for what the release cannot do.
    """
    faults: list[str] = []

    def one(option: str, known: Mapping[str, T]) -> T | None:
        said = getattr(given, _name(option))
        if said is None or said in known:
            return None if said is None else known[said]
        wanted = " or ".join(known)
        faults.append(f"{option} is {said!r}; wanted {wanted}")
        return None

    number = read_release(given, faults)
    mode = one("--mode", _MODES) or Mode.PRIMARY
    is_of_ledger = one("--from", {_LEDGER: True}) or False
    managed = one("--managed", _YES)
    live_migratable = one("--live-migratable", _YES)
    one_time_use = one("--one-time-use", _YES)
    policy = one("--numa-policy", _POLICIES)
    host_trait = _trait(given, faults)
    filters = _filters(given, faults)
    host = _host(given, is_of_ledger, faults)
    if faults:
        raise errors.Faults(tuple(faults))
    asked = Asked(
        number, mode, managed, live_migratable, one_time_use, policy,
        host_trait,
    )  # fmt: skip
    return Wishes(asked, filters, is_of_ledger, host)


def read_release(given: argparse.Namespace, faults: list[str]) -> Release:
    """The release that is named, or the newest; a fault where it is none."""
    try:
        return NEWEST if given.release is None else parse(given.release)
    except errors.Invalid as error:
        faults.append(f"--release {error}")
        return NEWEST


def _trait(given: argparse.Namespace, faults: list[str]) -> str | None:
    """A trait of one's own: Nova takes no other for a host."""
    said: str | None = given.host_trait
    if said is None:
        return None
    if not (said.startswith("CUSTOM_") and trait.is_trait(said)):
        faults.append(
            f"--host-trait is {said!r}; wanted CUSTOM_ with capitals, digits"
            " and _, 255 characters at most"
        )
    return said


def _filters(
    given: argparse.Namespace, faults: list[str]
) -> tuple[str, ...] | None:
    if given.enabled_filters is None:
        return None
    names = tuple(n.strip() for n in given.enabled_filters.split(","))
    for name in names:
        if not _FILTER.fullmatch(name):
            faults.append(
                f"--enabled-filters has {name!r} in it; wanted names of"
                " filters such as ComputeFilter, divided by commas"
            )
    return names


def _host(
    given: argparse.Namespace, is_of_ledger: bool, faults: list[str]
) -> str:
    if given.host is None:
        return ""
    if is_of_ledger:
        faults.append(
            "--host names the host that is read; with --from inventory each"
            " has the name that it published under"
        )
    elif not _HOST.fullmatch(given.host):
        faults.append(
            f"--host is {given.host!r}; wanted a name of 1 to 255 characters"
            " without blanks and slashes"
        )
    return str(given.host)


def _name(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")
