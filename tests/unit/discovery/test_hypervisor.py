"""Virtual machines of public reports, and machines that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin.discovery import facts
from gpu_passthrough_plugin.discovery.host_tree import HostTree
from gpu_passthrough_plugin.discovery.hypervisor import hypervisor

CPU = "vendor_id\t: GenuineIntel\nflags\t\t: fpu vme {}\n"


def found(root: Path, files: dict[str, str]) -> str | None:
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return hypervisor(HostTree(str(root)))


@pytest.mark.parametrize(
    ("vendor", "product", "expected"),
    [
        ("Microsoft Corporation", "Virtual Machine", "Microsoft Hyper-V"),
        ("Microsoft Corporation", "Surface Laptop 4", None),
        ("Amazon EC2", "g6.4xlarge", "Amazon EC2"),
        ("Amazon EC2", "m5.metal", None),
        ("OpenStack Foundation", "OpenStack Nova", "OpenStack Nova"),
        ("Cloud Hypervisor", "cloud-hypervisor", "Cloud Hypervisor"),
        ("QEMU", "Standard PC (Q35 + ICH9, 2009)", "QEMU"),
        ("Google", "Google Compute Engine", "Google Compute Engine"),
        ("VMware, Inc.", "VMware7,1", "VMware"),
        ("Dell Inc.", "PowerEdge R7525", None),
    ],
)
def test_by_the_firmwares_names(
    tmp_path: Path, vendor: str, product: str, expected: str | None
) -> None:
    files = {
        "sys/class/dmi/id/sys_vendor": f"{vendor}\n",
        "sys/class/dmi/id/product_name": f"{product}\n",
        "proc/cpuinfo": CPU.format("msr"),
    }
    assert found(tmp_path, files) == expected


def test_by_the_processors_flag(tmp_path: Path) -> None:
    cpuinfo = CPU.format("hypervisor msr")
    assert found(tmp_path, {"proc/cpuinfo": cpuinfo}) is not None
    kept = facts.cpu_lines(cpuinfo.encode())
    assert kept == ["vendor_id\t: GenuineIntel", "flags\t\t: hypervisor"]
    recorded = {"proc/cpuinfo": "\n".join(kept)}
    assert found(tmp_path / "recorded", recorded) is not None
    assert facts.cpu_lines(CPU.format("msr").encode()) == kept[:1]


def test_nothing_says_so(tmp_path: Path) -> None:
    assert (
        found(tmp_path, {"proc/cpuinfo": "CPU implementer\t: 0x41\n"}) is None
    )


def test_xens_domains(tmp_path: Path) -> None:
    dom0 = {
        "sys/hypervisor/type": "xen\n",
        "proc/xen/capabilities": "control_d\n",
    }
    name = found(tmp_path, dom0)
    assert name is not None and "dom0" in name
    guest = dom0 | {"proc/xen/capabilities": ""}
    assert found(tmp_path / "guest", guest) == "Xen"
