"""What is advised on hosts of every kind, drawn from parts of real ones.

The server of ``tests.trees.systems``, under any of its distributions, with
another processor, without an IOMMU, inside a hypervisor, with company in its
card's group, with other configuration of modules, and with any message of
the kernel that a cause reads.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.diagnosis.verify import Verified
from gpu_passthrough_plugin.discovery.recorded_tree import RecordedTree
from gpu_passthrough_plugin.flow import host_snapshot, verification
from gpu_passthrough_plugin.flow.host_snapshot import Scope
from gpu_passthrough_plugin.flow.verification import BootEvidence, Names
from gpu_passthrough_plugin.model.change_history import Enablement
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.model.group import NO_IOMMU, VFIO_NO_IOMMU
from gpu_passthrough_plugin.model.reading import MISSING, Unknown
from tests.trees.boot import CARD
from tests.trees.systems import SYSTEMS
from tests.unit.diagnosis.build import enabled, target
from tests.unit.diagnosis.test_kernel_messages import ROWS, lines
from tests.unit.isolation.values import GPUS, function

# By processor: what /proc/cpuinfo says, and the table of its IOMMU.
FAMILIES = {
    "intel": ("vendor_id\t: GenuineIntel\n", "DMAR"),
    "amd": ("vendor_id\t: AuthenticAMD\n", "IVRS"),
    "arm": ("CPU implementer\t: 0x41\n", "IORT"),
    "power": ("cpu\t\t: POWER9, altivec supported\n", ""),
    "riscv": ("isa\t\t: rv64imafdc\n", ""),
}
X86 = frozenset({"intel", "amd"})
X86_WORDS = re.compile(
    r"intel_iommu|amd_iommu|VT-d|AMD-Vi|DMAR|IVRS|x2APIC|nointremap|intremap="
)
DISK, NIC = "0000:01:00.0", "0000:02:00.0"
GROUP = 20
HYPERVISORS = ("", "QEMU", "Amazon EC2", "Microsoft Corporation")
MODULES = (
    "",
    "options vfio-pci ids=10de:24b0,10de:228b\n",
    "options vfio-pci ids=10de:24b0\n",
    "options vfio-pci ids=144d:a80a\n",
    "blacklist nouveau\nsoftdep nouveau pre: vfio-pci\n",
    "install vfio-pci /usr/local/bin/override\n",
    "optoins vfio-pci ids=10de:24b0\n",
)
WORDS = (
    "quiet", "intel_iommu=on", "intel_iommu=off", "amd_iommu=on", "iommu=pt",
    "iommu=off", "intel_opmmu=on", "vfio-pci.ids=10de:24b0",
    "vfio-pci-ids=10de:24b0", "pcie_acs_override=downstream",
    "intremap=off", "vfio_iommu_type1.allow_unsafe_interrupts=1",
)  # fmt: skip
# What binds a function, or makes something bind it.
STEPS = re.compile(
    r"\bhost enable\b|\bids=[0-9a-f]|driver_override|drivers_probe"
    r"|softdep|--select"
)
WRITTEN = re.compile(r"echo \S+ > (?P<path>/sys/[^\s',;)]+)")
ADDRESS = re.compile(r"\b[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]\b")


CARD_FOLDERS = tuple(
    f"sys/devices/pci0000:00/0000:00:04.0/{address}" for address in CARD
)
TABLES = "sys/firmware/acpi/tables"


@functools.cache
def installed(system: str) -> RecordedTree:
    return SYSTEMS[system]().tree()


def without_iommu(tree: RecordedTree, tables: set[str]) -> RecordedTree:
    """The host without any group, and with these tables of the firmware."""
    kept = [f for f in tree.folders if "iommu" not in f and TABLES not in f]
    return RecordedTree(
        tree.files,
        {p: text for p, text in tree.links.items() if "iommu" not in p},
        [*kept, "sys/class/iommu", *(f"{TABLES}/{t}" for t in tables)],
    )


def with_files(
    tree: RecordedTree, files: Mapping[str, str], links: Mapping[str, str]
) -> RecordedTree:
    """The host with these files and links; an empty text removes one."""
    gone = {p for p, text in {**files, **links}.items() if not text}
    data = {p: text.encode() for p, text in files.items()}
    return RecordedTree(
        {p: d for p, d in {**tree.files, **data}.items() if p not in gone},
        {p: t for p, t in {**tree.links, **links}.items() if p not in gone},
        [f for f in tree.folders if f not in gone],
    )


def grouped(tree: RecordedTree, address: str) -> dict[str, str]:
    """Links that put a function into the card's group."""
    (folder,) = (
        path.removesuffix("/config")
        for path in tree.files
        if path.endswith(f"/{address}/config")
    )
    old = tree.links[f"{folder}/iommu_group"].rpartition("/")[2]
    up = "../" * (folder.count("/"))
    return {
        f"{folder}/iommu_group": f"{up}kernel/iommu_groups/{GROUP}",
        f"sys/kernel/iommu_groups/{old}/devices/{address}": "",
        f"sys/kernel/iommu_groups/{GROUP}/devices/{address}": (
            f"../../../../{folder.removeprefix('sys/')}"
        ),
    }


@st.composite
def common(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, str]]:
    """Files and links of any host: arguments, modules, the card's driver."""
    words = draw(st.lists(st.sampled_from(WORDS), max_size=4))
    driver = draw(st.sampled_from(("", "nouveau", "vfio-pci")))
    vendor = draw(st.sampled_from(HYPERVISORS))
    files = {"proc/cmdline": f"BOOT_IMAGE=/vmlinuz {' '.join(words)}\n"}
    if vendor:
        files |= {
            "sys/class/dmi/id/sys_vendor": f"{vendor}\n",
            "sys/class/dmi/id/product_name": "Virtual Machine\n",
        }
    modules = draw(st.sampled_from(MODULES))
    if modules:
        files["etc/modprobe.d/local.conf"] = modules
    if draw(st.booleans()):
        files[f"{CARD_FOLDERS[0]}/reset_method"] = draw(
            st.sampled_from(("\n", "bus\n", ""))
        )
    links = {}
    for folder in CARD_FOLDERS[: draw(st.integers(0, 2))]:
        up = "../" * (folder.count("/"))
        links[f"{folder}/driver"] = (
            f"{up}bus/pci/drivers/{driver}" if driver else ""
        )
    return files, links


LOGS = st.lists(st.sampled_from(ROWS), max_size=3).map(
    lambda rows: tuple(
        line.replace("0000:06:00.0", CARD[0])
        for row in rows
        for line in lines(row)
    )
)
# No other processor's kernel says these.
OF_X86 = re.compile(r"DMAR|AMD-Vi|interrupt remapping|for graphics")


TARGETS = (
    target(function(CARD[0], "10de:24b0", 0x030000)),
    target(function(CARD[1], "10de:228b", 0x040300)),
)
# What ``host enable`` did before, or nothing.
ENABLED = st.sampled_from(
    (
        None,
        enabled(*TARGETS),
        enabled(*TARGETS, binding="ids"),
        enabled(*TARGETS, arguments=("intel_iommu=on", "iommu=pt")),
        enabled(TARGETS[0]),
    )
)
IMAGES = st.sampled_from(
    (MISSING, ("init",), ("init", "lib/vfio-pci.ko"), ("gpu-passthrough",))
)


def verify(
    tree: RecordedTree,
    log: tuple[str, ...],
    enablement: Enablement | None = None,
    image: Names = MISSING,
) -> tuple[tuple[Verified, ...], str]:
    """The rows of ``host verify``, or why there are none."""
    evidence = BootEvidence(log, enablement, lambda _, __: image)
    try:
        return verification.verify_host(tree, GPUS, evidence), ""
    except errors.Refused as error:
        return (), str(error)


SLOW = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@SLOW
@given(
    st.sampled_from(sorted(SYSTEMS)),
    st.sampled_from(sorted(FAMILIES)),
    st.booleans(),
    common(),
    LOGS,
    ENABLED,
    IMAGES,
)
def test_no_group_means_that_a_cause_says_iommu(
    system: str,
    family: str,
    has_table: bool,
    drawn: tuple[dict[str, str], dict[str, str]],
    log: tuple[str, ...],
    enablement: Enablement | None,
    image: Names,
) -> None:
    cpu, table = FAMILIES[family]
    files, links = drawn
    tree = with_files(
        without_iommu(
            installed(system), {table} if has_table and table else set()
        ),
        {"proc/cpuinfo": f"processor\t: 0\n{cpu}", **files},
        links,
    )
    if family not in X86:
        log = tuple(line for line in log if not OF_X86.search(line))
    rows, refusal = verify(tree, log, enablement, image)
    assert rows or "IOMMU" in refusal
    for row in rows:
        texts = [cause.text for cause in row.causes]
        assert row.status is not Status.PASS
        if row.status is Status.FAIL:
            assert any("IOMMU" in t or "VT-d" in t for t in texts), texts
        if family not in X86:
            for cause in row.causes:
                said = f"{cause.text}; {cause.fix}"
                assert not X86_WORDS.search(said), said


@SLOW
@given(
    st.sampled_from(["arch", "proxmox-grub", "proxmox-systemd-boot",
                     "tumbleweed", "arch-grub"]),
    st.sets(st.sampled_from([DISK, NIC])),
    common(),
    LOGS,
    ENABLED,
    IMAGES,
)  # fmt: skip
def test_no_advice_that_enable_would_refuse(
    system: str,
    company: set[str],
    drawn: tuple[dict[str, str], dict[str, str]],
    log: tuple[str, ...],
    enablement: Enablement | None,
    image: Names,
) -> None:
    tree = installed(system)
    links = dict(drawn[1])
    for address in company:
        links |= grouped(tree, address)
    tree = with_files(tree, drawn[0], links)
    rows, _ = verify(tree, log, enablement, image)
    refused = {
        member.address
        for group in host_snapshot.read(tree, GPUS, Scope.ALL).groups()
        for member in group.members
        if any(
            reason.rule not in (NO_IOMMU, VFIO_NO_IOMMU, "no-primary")
            for reason in group.verdict.reasons
        )
    }
    present = {
        address
        for path in tree.files
        if path.endswith("/config")
        for address in [path.split("/")[-2]]
    }
    for row in rows:
        for cause in row.causes:
            if row.address in refused:
                assert not STEPS.search(cause.fix), cause
            for match in WRITTEN.finditer(cause.fix):
                path = match["path"].removeprefix("/")
                is_there = not isinstance(tree.read(path), Unknown)
                assert is_there or path.endswith("drivers_probe"), cause
            assert set(ADDRESS.findall(cause.fix)) <= present, cause
    if company:
        assert refused
