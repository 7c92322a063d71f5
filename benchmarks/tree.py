"""A large host on disk: what a listing of its functions has to read."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.trees import software
from tests.trees.host import Host

_CARDS = 8
_FUNCTIONS_PER_PORT = 16
_PORTS_PER_DOMAIN = 128
# As many lines as a distribution's kernel has.
_ALIASES = 20_000
# What fills a server up: virtual NICs, disks, and a processor's own parts.
_KINDS = (
    ("8086:154c", "020000", "iavf"),
    ("144d:a80a", "010802", "nvme"),
    ("8086:2f81", "088000", None),
)


# What the kernel shows of a function that vfio-pci has.
_HEALTH = {
    "current_link_speed": "2.5 GT/s PCIe\n",
    "current_link_width": "16\n",
    "max_link_speed": "16.0 GT/s PCIe\n",
    "max_link_width": "16\n",
    "power_state": "D0\n",
    "power/runtime_status": "active\n",
    "aer_dev_correctable": "RxErr 3\nBadTLP 1\nTOTAL_ERR_COR 4\n",
    "aer_dev_nonfatal": "UnsupReq 1\nTOTAL_ERR_NONFATAL 1\n",
    "aer_dev_fatal": "DLP 0\nTOTAL_ERR_FATAL 0\n",
}


def grown(root: Path, count: int, cards: int = 0) -> Path:
    """``root`` with a host of ``count`` functions below it.

    Eight cards with two functions each; the rest in sixteens behind root
    ports, each in a group of its own; two sockets.

    :param cards: as many instead of eight, and on vfio-pci.
    """
    host = Host()
    left = count
    number = 0
    while left > 0:
        left -= _port(host, number, left, cards)
        number += 1
    software.mounts(host, {"/": ("8:1", "/dev/sda1", "ext4")})
    software.swaps(host)
    host.folder("sys/dev/block")
    software.routes(host, [])
    software.firmware(
        host, "GenuineIntel", "ro intel_iommu=on", ["DMAR"], ["dmar0"]
    )
    software.sockets(host, ["0-31", "32-63"])
    software.consoles(host, "ttyS0")
    software.aliases(host, {"pci:v000010DEd*sv*sd*bc03sc*i*": "nouveau"})
    written = host.write(root)
    # A described host is a recording, whose files are bounded.
    (aliases,) = written.glob("lib/modules/*/modules.alias")
    with aliases.open("a", encoding="ascii") as file:
        for at in range(_ALIASES):
            pattern = f"pci:v{at % 400:08X}d{at:08X}sv*sd*bc*sc*i*"
            file.write(f"alias {pattern} module_{at}\n")
    return written


def _port(host: Host, number: int, left: int, cards: int) -> int:
    """Add a root port and what is behind it; how many functions that is."""
    domain, slot = divmod(number, _PORTS_PER_DOMAIN)
    node = number % 2
    port = f"{domain:04x}:00:{slot // 8:02x}.{slot % 8}"
    bus = f"{domain:04x}:{slot + 1:02x}"
    group = number * (_FUNCTIONS_PER_PORT + 1)
    host.function(
        port, "8086:2f04", "060400", group=group, node=node,
        driver="pcieport", below=bus, reset="pm",
    )  # fmt: skip
    if number < (cards or _CARDS):
        behind = min(2, left - 1)
        for function in range(behind):
            _card(
                host, f"{bus}:00.{function}", port, group + 1, node, cards > 0
            )
        return 1 + behind
    behind = min(_FUNCTIONS_PER_PORT, left - 1)
    for at in range(behind):
        ids, code, driver = _KINDS[(number + at) % len(_KINDS)]
        host.function(
            f"{bus}:{at // 8:02x}.{at % 8}", ids, code, under=port,
            group=group + 1 + at, node=node, driver=driver, reset="flr",
            bars=(65536,),
        )  # fmt: skip
    return 1 + behind


def _card(
    host: Host,
    address: str,
    port: str,
    group: int,
    node: int,
    is_on_vfio: bool,
) -> None:
    is_audio = address.endswith("1")
    driver = "snd_hda_intel" if is_audio else "nouveau"
    host.function(
        address,
        "10de:0fba" if is_audio else "10de:1430",
        "040300" if is_audio else "030000",
        under=port,
        group=group,
        node=node,
        driver="vfio-pci" if is_on_vfio else driver,
        more=_HEALTH if is_on_vfio else None,
        vga=None if is_audio else False,
        reset=None if is_audio else "bus",
        bars=(16 << 20,),
    )


if __name__ == "__main__":
    grown(Path(sys.argv[1]), int(sys.argv[2]))
