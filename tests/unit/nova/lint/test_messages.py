"""Everything that ``nova check`` can say, in one golden file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats import oslo_config_file
from gpu_passthrough_plugin.formats.nova_release import NEWEST, Release
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.nova.lint import check, configuration
from tests.golden import assert_golden, sections
from tests.trees import hosts
from tests.trees.host import Host
from tests.unit.nova.fleet import accelerators, handed
from tests.unit.nova.lint.build import (
    FILTER,
    FLEX,
    GPU,
    REPORT,
    SCHEDULER,
    groups,
    is_left_open,
    pci,
    without,
)  # fmt: skip

CARD = {"address": "0000:04:00.0"}
FOUR = [{"address": f"0000:04:00.{n}", "iommu_group": "a"} for n in range(4)]
OFF = "[filter_scheduler]\npci_in_placement = no\n"
REPORT_OFF = "[pci]\nreport_in_placement = no\n"
ONE, OTHER = ({"address": f"0000:05:00.{n}"} for n in (1, 2))
NEEDED = "a function that the host needs"
BROKEN = "entries that cannot be read"


class Case(NamedTuple):
    text: str
    host: Callable[[], Host] = hosts.four_functions
    release: Release = NEWEST
    reads_hardware: bool = False


def spec(*entries: object, extra: str = "") -> str:
    return extra + pci(entries)


def alias(*entries: object, extra: str = "") -> str:
    return extra + pci([CARD], entries)


def raw(text: str) -> str:
    return f"[pci]\ndevice_spec = {text}\n"


def large(
    extra: str = "", bits: int | None = 46, release: Release = NEWEST
) -> Case:
    """Eight cards with a BAR of 128 GiB each."""
    ids = {"vendor_id": "10de", "product_id": "2330"}
    entry = {"name": "h100", **ids, "device_type": "type-PCI"}
    return Case(
        extra + pci([ids], [entry]),
        lambda: accelerators(8, bits=bits),
        release,
        reads_hardware=True,
    )


FINE = {"nothing is wrong": Case(alias(GPU, extra=FILTER))}

CASES: Mapping[str, Case] = {
    "neither option": Case("[DEFAULT]\ndebug = True\n"),
    # Options, and how they go together.
    "option: no boolean": Case("[pci]\nreport_in_placement = y\n"),
    "option: no mode": Case("[libvirt]\ncpu_mode = maximum\n"),
    "option: misspelt": Case("[pci]\ndevice_specs = {}\n"),
    "option: unknown": Case("[pci]\nenabled = True\n"),
    "option: elsewhere": Case("[pci]\npci_in_placement = True\n"),
    "option: later": Case(alias(GPU, extra=SCHEDULER), release=Release(26)),
    "option: no device_spec": Case(pci([], [GPU])),
    "option: post-copy": Case(
        spec(
            {**CARD, "live_migratable": "yes"},
            extra="[libvirt]\nlive_migration_permit_post_copy = on\n",
        )
    ),
    "not reported": Case(alias(GPU, extra=SCHEDULER)),
    "no scheduler": Case(alias({**GPU, "traits": "A"}, GPU, extra=REPORT)),
    "filters: not available": Case(
        alias(
            GPU,
            extra="[filter_scheduler]\nenabled_filters = RetryFilter,"
            "ComputeFilter,PciPassthroughFilter,IommuGroupFilter\n"
            "available_filters = a.B\n",
        )
    ),
    "filters: not importable": Case(
        alias(
            GPU,
            extra="[filter_scheduler]\navailable_filters = a.B,a.C\n"
            "weight_classes = nova.scheduler.weights.all\n",
        )
    ),
    "filters: not enabled": Case(alias(GPU, extra=OFF)),
    # device_spec: what Nova fails to start with.
    "device_spec: not JSON": Case(raw("{")),
    "device_spec: nested": Case(raw("[" * 100_000)),
    "device_spec: no object": Case(raw("null")),
    "device_spec: in a list": Case(raw("[[{}]]")),
    "device_spec: long": Case(spec({"vendor_id": "z" * 10_000})),
    "vendor_id: a number": Case(spec({"vendor_id": 4318})),
    "vendor_id: null": Case(spec({"vendor_id": None})),
    "product_id: too large": Case(spec({"product_id": "10de0"})),
    "product_id: spaces": Case(spec({"product_id": " * "})),
    "address: a list": Case(spec({"address": ["0000:06:00.0"]})),
    "address: five parts": Case(spec({"address": "1:2:3:4.5"})),
    "address: domain": Case(spec({"address": "10000:06:00.0"})),
    "address: function": Case(spec({"address": "0000:06:00.8"})),
    "address: glob": Case(spec({"address": "0000:05:0*.0"})),
    "address: no regex": Case(spec({"address": {"bus": "(" * 30}})),
    "address: a number": Case(spec({"address": {"bus": 6}})),
    "address: intricate": Case(spec({"address": {"bus": "((.*)*)*" * 3}})),
    "address and devname": Case(spec({**CARD, "devname": "eno1"})),
    "devname: a number": Case(spec({"devname": 1})),
    "managed: perhaps": Case(spec({**CARD, "managed": "perhaps"})),
    "a tag: a list": Case(spec({**CARD, "x": ["A"]})),
    "resource_class: empty": Case(
        spec({**CARD, "resource_class": "CUSTOM_"}, extra=FILTER)
    ),
    "numa_node: near": Case(spec({**CARD, "numa_node": "near"})),
    "traits: a list": Case(spec({**CARD, "traits": ["A"]})),
    # device_spec: what it does on this host.
    "matches nothing": Case(spec({"address": "0000:09:00.0"})),
    "devname": Case(spec({"devname": "eno1"})),
    "hidden": Case(spec({"product_id": "1e87"}, CARD)),
    "everything": Case(spec({})),
    "two cards": Case(spec({"address": ":00.0"}), hosts.shared_group),
    "older name": Case('[pci]\npassthrough_whitelist = {"devname": "a"}\n'),
    "devname with Placement": Case(REPORT + raw('{"devname": "eno1"}')),
    "key: unknown": Case(spec({**CARD, "trait": "X"})),
    "key: of a pool": Case(spec({**CARD, "dev_type": "type-VF"})),
    "key: remote_managed": Case(spec({**CARD, "remote_managed": "yes"})),
    "key: later": Case(spec({**CARD, "managed": "no"}), release=Release(30)),
    "key: for Placement": Case(
        REPORT_OFF + raw(json.dumps({**CARD, "traits": "CUSTOM_A"}))
    ),
    "key: one_time_use": Case(
        REPORT_OFF + raw(json.dumps({**CARD, "one_time_use": "yes"}))
    ),
    "traits: a space": Case(
        spec({**CARD, "traits": "CUSTOM_A, B"}, extra=FILTER)
    ),
    "traits: no name": Case(
        spec({**CARD, "traits": "CUSTOM_A,"}, extra=FILTER)
    ),
    # What is listed of groups.
    "half a group": Case(spec(*FOUR[:2])),
    "a companion": Case(spec({"address": "0000:04:00.1"})),
    "no tag": Case(spec({"address": "0000:04:00"})),
    "two tags": Case(spec(*FOUR[:3], {**FOUR[3], "iommu_group": "b"})),
    "size": Case(spec(*({**s, "iommu_group_size": "3"} for s in FOUR))),
    "not in Placement": Case(spec(*FOUR)),
    "no Placement": Case(spec(*FOUR, extra=REPORT + OFF)),
    "no filter": Case(
        spec(*FOUR, extra=f"{FILTER}enabled_filters = PciPassthroughFilter\n")
    ),
    "late filter": Case(
        spec(
            *FOUR,
            extra=f"{FILTER}enabled_filters = PciPassthroughFilter,"
            "IommuGroupFilter\n",
        )
    ),
    "one tag for two groups": Case(
        spec(
            {"address": "0000:05:01.0", "iommu_group": "a"},
            {"address": "0000:06:00.0", "iommu_group": "a"},
        ),
        hosts.shared_group,
    ),
    "physical and virtual": Case(
        spec({"address": "0000:05:00.0"}, extra=FILTER),
        hosts.virtual_functions,
    ),
    "one_time_use of virtual": Case(
        spec({"product_id": "1018", "one_time_use": "yes"}, extra=FILTER),
        hosts.virtual_functions,
    ),
    "two classes": Case(
        spec({**ONE, "resource_class": "a"}, OTHER, extra=FILTER),
        hosts.virtual_functions,
    ),
    "two sets of traits": Case(
        spec({**ONE, "live_migratable": "yes"}, OTHER, extra=REPORT),
        hosts.virtual_functions,
    ),
    "two pools": Case(
        spec({**ONE, "x": "a"}, OTHER, extra=FILTER), hosts.virtual_functions
    ),
    "remote_managed of physical": Case(
        spec({"address": "0000:05:00.0", "remote_managed": "yes"}),
        hosts.virtual_functions,
    ),
    "bridge": Case(spec(CARD, {"address": "0000:00:01.0"})),
    NEEDED: Case(spec({"address": "0000:01:00.0"})),
    # alias: what Nova fails to start with.
    "alias: not JSON": Case("[pci]\nalias = {\n"),
    "alias: no object": Case("[pci]\nalias = []\n"),
    "alias: no name": Case(alias({"nam": "x"})),
    "alias: empty name": Case(alias({**GPU, "name": ""})),
    "alias: a number": Case(alias({**GPU, "vendor_id": 4318})),
    "alias: 0x": Case(alias({**GPU, "vendor_id": "0x10de"})),
    "alias: capability": Case(alias({**GPU, "capability_type": "usb"})),
    "alias: device type": Case(alias({**GPU, "device_type": "type-GPU"})),
    "alias: policy": Case(alias({**GPU, "numa_policy": "near"})),
    "alias: migratable": Case(alias({**GPU, "live_migratable": "perhaps"})),
    "alias: class of 26": Case(
        alias({**GPU, "resource_class": "A"}), release=Release(26)
    ),
    "alias: no ids": Case(alias(without(GPU, "vendor_id"))),
    "alias: class only": Case(
        alias({"name": "a", "resource_class": "A"}, extra=OFF)
    ),
    "alias: class only of 30": Case(
        alias({**without(GPU, "vendor_id"), "resource_class": "A"}),
        release=Release(30),
    ),
    "alias: no ids of 30": Case(
        alias(without(GPU, "vendor_id")), release=Release(30)
    ),
    "alias: traits of no use": Case(alias({**GPU, "traits": "A"})),
    "alias: no device type": Case(alias(without(GPU, "device_type"))),
    "alias: a colon": Case(alias({**GPU, "name": "a:b"})),
    "twice: policy": Case(alias(GPU, {**GPU, "numa_policy": "socket"})),
    "twice: type": Case(alias(GPU, {**GPU, "device_type": "type-VF"})),
    "twice: no type": Case(alias(GPU, without(GPU, "device_type"))),
    "twice: Placement": Case(alias(GPU, GPU, extra=FILTER)),
    # alias: what it finds on this host.
    "never: not here": Case(alias({**GPU, "product_id": "ffff"})),
    "never: not listed": Case(alias({**GPU, "product_id": "10f8"})),
    "never: device type": Case(
        alias({**FLEX, "device_type": "type-PCI"}), hosts.virtual_functions
    ),
    "never: no device type": Case(
        alias(without(FLEX, "device_type")), hosts.virtual_functions
    ),
    "never: dev_type": Case(
        spec({**CARD, "dev_type": "type-VF"}) + pci([], [GPU])
    ),
    "never: remote_managed": Case(
        spec({**CARD, "remote_managed": "yes"}) + pci([], [GPU])
    ),
    "never: capability": Case(alias({**GPU, "capability_type": "pci"})),
    "never: another capability": Case(
        spec(CARD, {"vendor_id": "8086", "capability_type": "pci"})
        + pci([], [{**GPU, "capability_type": "pci"}])
    ),
    "never: class": Case(
        alias({**GPU, "resource_class": "big"}, extra=FILTER)
    ),
    "never: traits": Case(
        alias({**GPU, "traits": "CUSTOM_BLUE"}, extra=FILTER)
    ),
    "never: migratable": Case(alias({**GPU, "live_migratable": "yes"})),
    "elsewhere": Case(
        alias(GPU, {**GPU, "name": "b", "resource_class": "B"}, extra=FILTER)
    ),
    # What guests can map.
    "addresses: default": large(),
    "addresses: few": large(bits=41),
    "addresses: too few": large(bits=40),
    "addresses: too few for two": large(
        "[libvirt]\ncpu_mode = host-passthrough\n", bits=41
    ),
    "addresses: Nova 27": large(release=Release(27)),
    "addresses: not known": large(
        "[libvirt]\ncpu_mode = host-passthrough\n", bits=None
    ),
    # Files that cannot be read.
    "file: section": Case("[pci\n"),
    "file: no option": Case("foo\n= x\n"),
    "file: no section": Case("a = b\n"),
    "file: indented": Case("[pci]\n\n  alias = x\n"),
    "file: a name": Case("[pci]\nalias = $host\n"),
    "file: large": Case("#" * (oslo_config_file.MAX_BYTES + 1)),
    BROKEN: Case("[pci]\ndevice_spec = {\nalias = {\n"),
    "too many entries": Case(raw("[" + "{}," * 1000 + "{}]")),
    "too many aliases": Case("[pci]\n" + "alias = {}\n" * 1001),
}


def said(case: Case, *statuses: Status) -> Iterator[str]:
    """The lines of one case: its findings of these statuses, or its error."""
    try:
        read = configuration.read([("nova.conf", case.text.encode())])
        host = case.host()
        findings = check.findings(
            read,
            groups(host),
            case.release,
            handed(host).hardware if case.reads_hardware else None,
        )
    except errors.Faults as error:
        yield from error.faults
    except errors.Invalid as error:
        yield str(error)
    else:
        for found in findings:
            # Why a group is refused is worded elsewhere: once is enough.
            if found.check == "host" and case != CASES[NEEDED]:
                continue
            # So is what an entry that cannot be read leaves open.
            if is_left_open(found) and case != CASES[BROKEN]:
                continue
            if found.status in statuses:
                where = f" {found.where}:" if found.where else ""
                yield f"{found.check}: {found.status}:{where} {found.detail}"
                if found.remedy:
                    yield f"    {found.remedy}"


def test_messages() -> None:
    texts = {name: said(case, *Status) for name, case in FINE.items()}
    texts |= {
        name: said(case, Status.FAIL, Status.WARN)
        for name, case in CASES.items()
    }
    assert_golden(Path(__file__).with_name("messages.txt"), sections(texts))
