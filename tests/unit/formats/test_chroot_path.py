from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats import chroot_path
from gpu_passthrough_plugin.model.reading import Unknown, Why

LINKS = {
    "bus/a": "../devices/x/a",
    "devices/up": "../../../../etc",
    "devices/far": "/devices/x",
    "devices/loop": "loop",
    "devices/chain": "far/../x/a",
}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("", ""),
        ("devices//x/./a", "devices/x/a"),
        ("bus/a/uevent", "devices/x/a/uevent"),
        ("devices/up/passwd", "etc/passwd"),
        ("devices/far/a", "devices/x/a"),
        ("devices/chain", "devices/x/a"),
        ("../../etc", "etc"),
    ],
)
def test_resolves_links_as_text_below_the_root(path: str, wanted: str) -> None:
    assert chroot_path.resolve(path, LINKS.get) == wanted


def test_gives_a_loop_up() -> None:
    found = chroot_path.resolve("devices/loop", LINKS.get)
    assert found == Unknown(Why.UNREADABLE, "too many symbolic links")


def test_a_link_leads_on_from_its_folder() -> None:
    assert chroot_path.link_target(
        "sys/class/net/eth0", "../../devices/eth0"
    ) == ("sys/devices/eth0")
    assert chroot_path.link_target("sys/a", "/devices/eth0") == "devices/eth0"
