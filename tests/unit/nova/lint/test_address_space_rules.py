"""Cards that an instance cannot map by default."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats.nova_release import NEWEST, Release
from gpu_passthrough_plugin.model.finding import Finding, Status
from gpu_passthrough_plugin.nova.lint import (
    address_space_rules,
    check,
    configuration,
)
from tests.trees.host import Host
from tests.unit.nova.fleet import accelerators, handed, resource
from tests.unit.nova.lint.build import groups, pci

H100 = {"vendor_id": "10de", "product_id": "2330"}
ALIAS = {"name": "h100", **H100, "device_type": "type-PCI"}
PASSTHROUGH = "[libvirt]\ncpu_mode = host-passthrough\n"


def found(
    host: Host, extra: str = "", release: Release = NEWEST
) -> list[Finding]:
    text = extra + pci([H100], [ALIAS])
    conf = configuration.read([("nova.conf", text.encode())])
    hardware = handed(host).hardware
    return [
        finding
        for finding in check.findings(conf, groups(host), release, hardware)
        if finding.check == address_space_rules.ADDRESSES
    ]


def warning(
    host: Host, extra: str = "", release: Release = NEWEST
) -> Finding | None:
    (finding,) = found(host, extra, release)
    return None if finding.status is Status.PASS else finding


def test_bits_by_number_of_cards() -> None:
    finding = warning(accelerators(8))
    assert finding is not None
    assert finding.status is Status.WARN
    for datum in ("'h100'", "129 GiB", "32 GiB"):
        assert datum in finding.detail
    for datum in ("hw:maxphysaddr_bits", "41 for up to 1", "44 for up to 8"):
        assert datum in finding.remedy


def test_small_cards_and_guests_with_the_hosts_bits() -> None:
    assert warning(accelerators(4, memory_gib=1)) is None
    assert warning(accelerators(8), PASSTHROUGH) is None
    finding = warning(accelerators(8, bits=42), PASSTHROUGH)
    assert finding is not None
    assert "3" in finding.detail


def test_a_release_without_the_setting() -> None:
    finding = warning(accelerators(1), release=Release(27))
    assert finding is not None
    assert "maxphysaddr" not in finding.remedy
    assert "cpu_mode" in finding.remedy


@pytest.mark.parametrize("extra", ["", PASSTHROUGH])
def test_what_is_not_known_does_not_pass(extra: str) -> None:
    host = accelerators(1, bits=None)
    host.function(
        "0000:20:00.0", "10de:2330", "030200", root_bus="0000:20", group=60,
        more={"resource": "?\n"},
    )  # fmt: skip
    finding = warning(host, extra)
    assert finding is not None
    assert "unknown" in finding.detail


def test_nothing_to_check_without_a_device_spec() -> None:
    conf = configuration.read([("nova.conf", pci([], [ALIAS]).encode())])
    host = accelerators(1)
    names = {
        f.check
        for f in check.findings(
            conf, groups(host), hardware=handed(host).hardware
        )
    }
    assert address_space_rules.ADDRESSES not in names


def test_registers_below_4_gib() -> None:
    line = f"{1 << 29:#x} {(1 << 30) - 1:#x} 0x40200\n"
    host = accelerators(0)
    for number in range(3):
        host.function(
            f"0000:{number + 32:02x}:00.0", "10de:2330", "030200",
            root_bus=f"0000:{number + 32:02x}", group=60 + number,
            more={"resource": line + resource(1)},
        )  # fmt: skip
    finding = warning(host)
    assert finding is not None
    assert "below 4 GiB" in finding.detail
