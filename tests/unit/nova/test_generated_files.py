"""Every generated file as an operator sees it, in one golden file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.model.request import NumaPolicy
from gpu_passthrough_plugin.nova import compute, render
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions
from tests.golden import assert_golden, sections
from tests.trees import hosts
from tests.unit.nova.fleet import VIRTUAL, accelerators, cards, handed

EVERYTHING = NovaOptions(
    managed=False,
    live_migratable=True,
    one_time_use=True,
    numa_policy=NumaPolicy.PREFERRED,
    host_trait="CUSTOM_GPU_HOST",
)


ALL = ("compute", "alias", "scheduler", "placement", "flavors", "provider")


class Case(NamedTuple):
    """A host, how Nova is configured, and the files that show something."""

    host: ComputeHost
    options: NovaOptions
    files: tuple[str, ...] = ("compute",)


def text(case: Case, file: str) -> str:
    """The text of one file that is made for a host."""
    host, options, _ = case
    files: dict[str, Callable[[], str]] = {
        "compute": lambda: render.compute_file(host, options),
        "alias": lambda: render.alias_file([host], options),
        "scheduler": lambda: render.scheduler_file(options),
        "placement": lambda: render.placement_file([host], options),
        "flavors": lambda: render.flavors_file([host], options),
        "provider": lambda: render.provider_file(options.host_trait or ""),
    }
    return files[file]()


def bare(host: ComputeHost, **changes: Any) -> ComputeHost:
    """The host without groups that are refused, which is worded elsewhere."""
    return dataclasses.replace(host, refused=(), **changes)


def cases() -> Mapping[str, Case]:
    card = handed(hosts.four_functions())
    acs = bare(handed(hosts.four_functions(), acs=True))
    full = NovaOptions(mode=Mode.FULL)
    old = dataclasses.replace(EVERYTHING, release=Release(26))
    shared = bare(handed(hosts.shared_group()))
    first, second, third = handed(
        hosts.virtual_functions(), "c1", *VIRTUAL
    ).units
    blue = dataclasses.replace(second, traits=frozenset({"CUSTOM_A"}))
    virtual = ComputeHost("c1", (first, blue, third))
    once = NovaOptions(one_time_use=True)
    wide = bare(handed(cards(8)))
    older = NovaOptions(Release(32), Mode.FULL)
    large = bare(handed(accelerators(8)))
    few = bare(handed(accelerators(8, bits=42)))
    return {
        "primary mode": Case(card, NovaOptions(), ALL[:-1]),
        "full mode": Case(bare(card), full, ALL[:-1]),
        "everything": Case(acs, EVERYTHING, ALL),
        "Nova 26": Case(acs, old, ("compute", "alias", "scheduler")),
        "Nova 26, shared group": Case(shared, NovaOptions(Release(26))),
        "shared group": Case(shared, full, ("compute", "alias", "flavors")),
        "virtual functions": Case(virtual, once, ("compute", "alias")),
        "wide": Case(wide, full, ("placement",)),
        "large BARs": Case(large, NovaOptions(), ("flavors",)),
        "large BARs, Nova 27": Case(
            large, NovaOptions(Release(27)), ("flavors",)
        ),
        "large BARs, few address bits": Case(few, NovaOptions(), ("flavors",)),
        "BARs of the ledger": Case(
            ComputeHost("c1", large.units), NovaOptions(), ("flavors",)
        ),
        "wide, Nova 32": Case(wide, older, ("placement",)),
        "nothing": Case(ComputeHost("c1", ()), NovaOptions()),
    }


def test_generated_files() -> None:
    texts = {
        f"{title}: {file}": text(case, file)
        for title, case in cases().items()
        for file in case.files
    }
    golden = Path(__file__).with_name("generated_files.txt")
    assert_golden(golden, sections(texts))


def test_reasons_why_a_unit_is_not_listed() -> None:
    card = handed(hosts.four_functions()).units[0]
    first, second = handed(hosts.virtual_functions(), "c1", "15b3:1018").units
    both = first.functions + second.functions
    companion = dataclasses.replace(second.functions[0], is_primary=False)
    far = card.functions[0].address._replace(domain=0x10000)
    many = tuple(
        dataclasses.replace(
            function, product_id=bus, address=far._replace(domain=0, bus=bus)
        )
        for bus, function in enumerate(card.functions * 6)
    )
    full = NovaOptions(mode=Mode.FULL)
    units = {
        "wide domain": (
            (dataclasses.replace(card.functions[0], address=far),),
            full,
        ),
        "several primaries": (both, NovaOptions(Release(26))),
        "several virtual primaries": (both, full),
        "virtual and others": ((*first.functions, companion), full),
        "long request": (many, full),
    }
    texts = {
        title: compute.reason(
            dataclasses.replace(first, functions=functions), options
        )
        for title, (functions, options) in units.items()
    }
    golden = Path(__file__).with_name("reasons.txt")
    assert_golden(golden, sections(texts))
