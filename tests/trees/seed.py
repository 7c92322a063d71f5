"""The host of the seed: three Quadro M2000 in a CentOS 7.3 server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tests.trees import software
from tests.trees.host import Host

_NOTES = (
    "Shown by the seed: the three Quadro M2000 with their audio functions",
    "and groups 18, 38 and 39, the Matrox at 0a:03.0, vfio-pci on the cards,",
    "the release, the kernel and its arguments.",
    "Inferred: everything else. The board is taken for one with two Xeon E5",
    "v2 and a C600 chipset, buses 80 up on the second socket, each port in a",
    "group of its own, LVM on a SATA disk, an I350 for the network, the",
    "subsystem ids, BARs, ACPI tables beside DMAR, and group numbers other",
    "than the three. Functions that the story does not need are left out.",
)


class Card(NamedTuple):
    """A card with two functions.

    :param ids: of each of them, as lspci prints them.
    """

    slot: str
    port: str
    group: int
    node: int
    ids: tuple[str, str] = ("10de:1430", "10de:0fba")


CARDS = (
    Card("0000:06:00", "0000:00:02.0", 18, 0),
    Card("0000:82:00", "0000:80:02.0", 38, 1),
    Card("0000:83:00", "0000:80:03.0", 39, 1),
)
_MIB = 1 << 20
_RELEASE = "3.10.0-514.el7.x86_64"
_TABLES = ("APIC", "DSDT", "FACP", "MCFG", "SLIT", "SRAT", "SSDT")


def seed(cards: Sequence[Card] = CARDS) -> Host:
    """The host, described.

    :param cards: those that are in it.
    """
    host = Host(_RELEASE)
    for note in _NOTES:
        host.note(note)
    _described(host, cards)
    _software(host, sorted((*_TABLES, "DMAR")), ("dmar0", "dmar1"))
    return host


def failed() -> Host:
    """The same in the seed's failure: VT-d off, and half of the ids.

    Shown by the seed: that vfio-pci gave up all three cards, and was told
    of 10de:1430 only. Inferred: that the firmware had VT-d turned off, which
    is the first thing that the seed tells to look at; that nothing else has
    the cards (the seed blacklists nouveau and nvidia), and that the audio
    functions are on their usual driver.
    """
    host = _Ungrouped(_RELEASE)
    _described(host)
    _software(host, _TABLES, ())
    host.file("etc/modprobe.d/vfio.conf", "options vfio-pci ids=10de:1430\n")
    host.file(
        "etc/modprobe.d/blacklist.conf",
        "blacklist nouveau\nblacklist nvidia\n",
    )
    return host


class _Ungrouped(Host):
    """A host without an IOMMU: vfio-pci takes nothing."""

    def function(
        self, address: str, ids: str, class_code: str, **more: Any
    ) -> str:
        if more.get("driver") == "vfio-pci":
            is_audio = class_code.startswith("0403")
            more["driver"] = "snd_hda_intel" if is_audio else None
        return super().function(
            address, ids, class_code, **more | {"group": None}
        )


def _described(host: Host, cards: Sequence[Card] = CARDS) -> None:
    sata = _chipset(host)
    _ports(host)
    for card in cards:
        _card(host, card)
    _network(host)
    _disks(host, sata)


def _chipset(host: Host) -> str:
    """Socket 0's own functions; the SATA controller's device path."""
    own = "15d9:0628"
    host.function(
        "0000:00:00.0", "8086:0e00", "060000", group=0, node=0,
        subsystem=own, revision=0x04,
    )  # fmt: skip
    for slot, ids, group in (("1a", "1d2d", 8), ("1d", "1d26", 11)):
        host.function(
            f"0000:00:{slot}.0", f"8086:{ids}", "0c0320", group=group, node=0,
            driver="ehci-pci", subsystem=own, revision=0x06, bars=(1024,),
        )  # fmt: skip
    host.function(
        "0000:00:1e.0", "8086:244e", "060401", group=12, node=0,
        revision=0xA6, below="0000:0a",
    )  # fmt: skip
    host.function(
        "0000:0a:03.0", "102b:0532", "030000", under="0000:00:1e.0",
        group=19, node=0, driver="mgag200", subsystem=own, revision=0x0A,
        bars=(16 * _MIB, 16384, 8 * _MIB), vga=True,
    )  # fmt: skip
    host.function(
        "0000:00:1f.0", "8086:1d41", "060100", group=13, node=0,
        driver="lpc_ich", subsystem=own, revision=0x06,
    )  # fmt: skip
    host.function(
        "0000:00:1f.3", "8086:1d22", "0c0500", group=13, node=0,
        driver="i801_smbus", subsystem=own, revision=0x06, bars=(256,),
    )  # fmt: skip
    return host.function(
        "0000:00:1f.2", "8086:1d02", "010601", group=13, node=0,
        driver="ahci", subsystem=own, revision=0x06, bars=(2048,),
    )  # fmt: skip


def _ports(host: Host) -> None:
    ports = (
        ("0000:00:01.0", "8086:0e02", "0000:01", 1, 0),
        ("0000:00:02.0", "8086:0e04", "0000:06", 3, 0),
        ("0000:80:02.0", "8086:0e04", "0000:82", 36, 1),
        ("0000:80:03.0", "8086:0e08", "0000:83", 37, 1),
    )
    for address, ids, below, group, node in ports:
        host.function(
            address, ids, "060400", group=group, node=node,
            driver="pcieport", revision=0x04, below=below,
        )  # fmt: skip


def _card(host: Host, card: Card) -> None:
    slot, port, group, node, (display, audio) = card
    host.function(
        f"{slot}.0", display, "030000", under=port, group=group,
        node=node, driver="vfio-pci", subsystem="10de:1190", revision=0xA1,
        bars=(16 * _MIB, 256 * _MIB, 32 * _MIB, 128), vga=False,
    )  # fmt: skip
    host.function(
        f"{slot}.1", audio, "040300", under=port, group=group,
        node=node, driver="vfio-pci", subsystem="10de:1190", revision=0xA1,
        bars=(16384,),
    )  # fmt: skip


def _network(host: Host) -> None:
    nics = [
        host.function(
            f"0000:01:00.{number}", "8086:1521", "020000",
            under="0000:00:01.0", group=17, node=0, driver="igb",
            subsystem="15d9:1521", revision=0x01, bars=(512 << 10, 16384),
            vfs=(7, 0),
        )
        for number in (0, 1)
    ]  # fmt: skip
    software.nic(host, nics[0], "eno1", 2)
    software.nic(host, nics[1], "eno2", 3)
    software.routes(host, ["eno1"])


def _disks(host: Host, sata: str) -> None:
    drive = f"{sata}/ata1/host0/target0:0:0/0:0:0:0/block"
    sda = software.disk(host, drive, "sda", "8:0")
    software.disk(host, sda, "sda1", "8:1")
    volumes = software.disk(host, sda, "sda2", "8:2")
    software.mapped(host, 0, "centos-root", [volumes])
    software.mapped(host, 1, "centos-swap", [volumes])
    software.mounts(
        host,
        {
            "/": ("253:0", "/dev/mapper/centos-root", "xfs"),
            "/boot": ("8:1", "/dev/sda1", "xfs"),
        },
    )
    software.swaps(host, "/dev/dm-1")


def _software(
    host: Host, tables: Iterable[str], iommus: Iterable[str]
) -> None:
    kernel = f"BOOT_IMAGE=/vmlinuz-{host.release}"
    software.firmware(
        host,
        "GenuineIntel",
        f"{kernel} root=/dev/mapper/centos-root ro crashkernel=auto"
        " rd.lvm.lv=centos/root rd.lvm.lv=centos/swap rhgb quiet"
        " rd.driver.pre=vfio-pci intel_iommu=on",
        tables,
        iommus,
    )
    software.sockets(host, ["0-7,16-23", "8-15,24-31"])
    software.consoles(host, "tty0")
    software.aliases(
        host,
        {
            "pci:v000010DEd*sv*sd*bc03sc*i*": "nouveau",
            "pci:v000010DEd*sv*sd*bc04sc03i00*": "snd_hda_intel",
            "pci:v0000102Bd00000532sv*sd*bc*sc*i*": "mgag200",
            "pci:v00008086d00001521sv*sd*bc*sc*i*": "igb",
            "pci:v00008086d00001D02sv*sd*bc*sc*i*": "ahci",
            "pci:v00008086d00001D22sv*sd*bc*sc*i*": "i2c_i801",
            "pci:v00008086d00001D41sv*sd*bc*sc*i*": "lpc_ich",
        },
    )
    host.file("etc/redhat-release", "CentOS Linux release 7.3.1611 (Core) \n")
