"""Whether a host is itself a virtual machine, and whose."""

from __future__ import annotations

from gpu_passthrough_plugin.discovery.tree import Tree, text
from gpu_passthrough_plugin.model.reading import Unknown, as_text

CPUINFO = "proc/cpuinfo"
# The first processor's lines are within this.
CPUINFO_BYTES = 4096
FLAG = "hypervisor"

_DMI = "sys/class/dmi/id"
_DOM0 = "Xen's control domain (dom0)"
_UNNAMED = "a hypervisor that is not known by name"

# Beginnings of the firmware's system vendor and product name.
# Source: systemd, src/basic/virt.c (detect_vm_dmi), and the DMI tables of
# the clouds' machines in public reports.
_BY_DMI = (
    ("Microsoft Corporation", "Virtual Machine", "Microsoft Hyper-V"),
    ("Amazon EC2", "", "Amazon EC2"),
    ("Google", "Google Compute Engine", "Google Compute Engine"),
    ("OpenStack Foundation", "", "OpenStack Nova"),
    ("Cloud Hypervisor", "", "Cloud Hypervisor"),
    ("KubeVirt", "", "KubeVirt"),
    ("DigitalOcean", "", "DigitalOcean"),
    ("Hetzner", "vServer", "Hetzner Cloud"),
    ("Nutanix", "AHV", "Nutanix AHV"),
    ("Apple Inc.", "Apple Virtualization", "Apple Virtualization"),
    ("VMware", "", "VMware"),
    ("innotek GmbH", "", "VirtualBox"),
    ("Parallels", "", "Parallels"),
    ("BHYVE", "", "bhyve"),
    ("Xen", "", "Xen"),
    ("Bochs", "", "QEMU"),
    ("QEMU", "", "QEMU"),
    ("Red Hat", "KVM", "KVM"),
    ("Red Hat", "RHEV Hypervisor", "KVM"),
    ("oVirt", "", "KVM"),
)
# Such as "m5.metal": the machine itself.
_BARE_METAL = ".metal"


def hypervisor(tree: Tree) -> str | None:
    """Return the name of the hypervisor that a host runs under, or None.

    None as well where nothing says so: a machine need not tell.
    """
    if text(tree, "sys/hypervisor/type") == "xen":
        capabilities = text(tree, "proc/xen/capabilities")
        if isinstance(capabilities, str) and "control_d" in capabilities:
            return _DOM0
        return "Xen"
    vendor = text(tree, f"{_DMI}/sys_vendor")
    product = text(tree, f"{_DMI}/product_name")
    if not isinstance(vendor, Unknown) and not isinstance(product, Unknown):
        if product.endswith(_BARE_METAL):
            return None
        for maker, model, name in _BY_DMI:
            if vendor.startswith(maker) and product.startswith(model):
                return name
    cpuinfo = tree.read(CPUINFO, CPUINFO_BYTES)
    if isinstance(cpuinfo, Unknown) or flags_line(cpuinfo) is None:
        return None
    return _UNNAMED


def flags_line(cpuinfo: bytes) -> str | None:
    """Return ``flags: hypervisor`` if the first CPU has that flag.

    Source: Linux, arch/x86/include/asm/cpufeatures.h
    (``X86_FEATURE_HYPERVISOR``).
    """
    for line in as_text(cpuinfo).split("\n"):
        name, _, flags = line.partition(":")
        if name.strip() == "flags":
            return f"flags\t\t: {FLAG}" if FLAG in flags.split() else None
    return None
