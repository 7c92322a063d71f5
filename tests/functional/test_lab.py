"""The lab is what it claims to be: real groups, real passthrough."""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.functional.lab import guest, project
from tests.functional.lab.host import Boot, EmulatedHost
from tests.functional.lab.ssh import (
    CommandFailed,
    Connection,
    HostHung,
    LabError,
)
from tests.functional.lab.topology import SEED

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab

CARD = ("1002:5046", "8086:2668")
END_TIMEOUT_S = 60.0


def groups(host: EmulatedHost) -> dict[str, set[str]]:
    """Return the functions of each of the kernel's IOMMU groups."""
    found: dict[str, set[str]] = {}
    listed = host.sh("find /sys/kernel/iommu_groups -type l -printf %P\\\\n")
    for path in listed.split():
        number, _, function = path.split("/")
        found.setdefault(number, set()).add(function)
    return found


def displays(host: EmulatedHost) -> list[str]:
    """Return the addresses of all VGA controllers, in order."""
    listed = host.sh("lspci -Dn -d ::0300")
    return [line.split()[0] for line in listed.splitlines()]


def peers(host: EmulatedHost, function: str) -> set[str]:
    """Return the group that a function is in."""
    return next(g for g in groups(host).values() if function in g)


def driver(host: EmulatedHost, function: str) -> str:
    """Return the name of a function's driver, or nothing."""
    link = f"/sys/bus/pci/devices/{function}/driver"
    path = host.run(("readlink", link), check=False).stdout.strip()
    return path.rpartition("/")[2]


@contextmanager
def defined(
    host: EmulatedHost, *functions: str, disk: str = guest.FORCED
) -> Iterator[tuple[str, str]]:
    """Return the name and the serial log of a guest, gone afterwards."""
    name = f"guest-{uuid.uuid4().hex[:8]}"
    serial, xml = f"/run/{name}.log", f"/run/{name}.xml"
    text = guest.domain_xml(
        name, str(uuid.uuid4()), serial, functions=functions, disk=disk
    )
    host.put(xml, text.encode())
    host.run(("virsh", "define", xml))
    yield name, serial
    host.run(("virsh", "destroy", name), check=False)
    host.run(("virsh", "undefine", name))


def seen_at_end(host: EmulatedHost, serial: str) -> tuple[str, ...]:
    """Return what the guest found, when it is done."""
    until = time.monotonic() + END_TIMEOUT_S
    while time.monotonic() < until:
        found = guest.seen(host.get(serial).decode(errors="replace"))
        if found is not None:
            return found
        time.sleep(0.2)
    raise AssertionError(f"no END: {host.get(serial)!r}")


def test_each_card_of_the_seed_is_a_group(seed_host: EmulatedHost) -> None:
    cards = displays(seed_host)
    assert len(cards) == 3
    for card in cards:
        audio = f"{card[:-1]}1"
        assert peers(seed_host, card) == {card, audio}
        assert driver(seed_host, card) == ""
        assert driver(seed_host, audio) == "snd_hda_intel"


def test_only_the_card_can_be_reset(seed_host: EmulatedHost) -> None:
    card, *_ = displays(seed_host)
    sysfs = "/sys/bus/pci/devices"
    assert seed_host.get(f"{sysfs}/{card}/reset_method") == b"bus\n"
    audio = f"{sysfs}/{card[:-1]}1/reset_method"
    assert seed_host.run(("test", "-e", audio), check=False).returncode == 1


def test_half_a_group_is_not_viable(seed_host: EmulatedHost) -> None:
    card, *_ = displays(seed_host)
    with defined(seed_host, card) as (name, _):
        refused = seed_host.run(("virsh", "start", name), check=False)
    assert refused.returncode == 1
    assert "is not viable" in refused.stderr


def test_a_guest_holds_a_whole_group(seed_host: EmulatedHost) -> None:
    card, *_ = displays(seed_host)
    functions = sorted(peers(seed_host, card))
    with defined(seed_host, *functions) as (name, serial):
        seed_host.run(("virsh", "start", name))
        found = seen_at_end(seed_host, serial)
        assert [driver(seed_host, each) for each in functions] == [
            "vfio-pci", "vfio-pci",
        ]  # fmt: skip
    assert set(CARD) <= set(found)
    assert driver(seed_host, functions[1]) == "snd_hda_intel"


def test_a_guest_obeys_the_power_button(seed_host: EmulatedHost) -> None:
    with defined(seed_host, disk=guest.OBEDIENT) as (name, serial):
        seed_host.run(("virsh", "start", name))
        assert not set(CARD) & set(seen_at_end(seed_host, serial))
        seed_host.run(("virsh", "shutdown", name))
        seed_host.sh(
            f"timeout 30 sh -c 'until virsh domstate {name} | grep -q off;"
            " do sleep 0.2; done'"
        )


def test_two_cards_share_a_group_with_a_bridge(
    shared_host: EmulatedHost,
) -> None:
    first, second, alone = displays(shared_host)
    together = peers(shared_host, first)
    assert together == peers(shared_host, second)
    assert len(together) == 5
    assert len(peers(shared_host, alone)) == 2


def test_a_function_that_is_no_card(shared_host: EmulatedHost) -> None:
    listed = shared_host.sh("lspci -Dn -d 1234:11e8").split()
    assert listed[1] == "00ff:"
    assert peers(shared_host, listed[0]) == {listed[0]}


def test_cards_are_near_their_nodes(numa_host: EmulatedHost) -> None:
    cards = displays(numa_host)
    paths = [f"/sys/bus/pci/devices/{card}/numa_node" for card in cards]
    assert numa_host.sh(f"cat {' '.join(paths)}").split() == list("0011")
    assert all(len(peers(numa_host, card)) == 2 for card in cards)
    nodes = numa_host.get("/sys/devices/system/node/online")
    assert nodes == b"0-1\n"


def test_a_host_boots_by_itself(boot: Boot, project_archive: bytes) -> None:
    host = boot(SEED, kernel_arguments=None)
    assert groups(host)
    project.install(host, project_archive)
    host.put("/etc/lab.d/kept", b"\0kept\xff", mode=0o640)
    host.sh("sed -i 's/CMDLINE_LINUX=\"/&intel_iommu=off /' /etc/default/grub")
    host.run(("update-grub",))
    before = host.get("/proc/sys/kernel/random/boot_id")
    host.reboot()
    assert host.get("/proc/sys/kernel/random/boot_id") != before
    assert " intel_iommu=off " in host.get("/proc/cmdline").decode()
    assert groups(host) == {}
    assert host.get("/etc/lab.d/kept") == b"\0kept\xff"
    assert host.sh("stat -c %a /etc/lab.d/kept") == "640\n"
    assert_installed(host)


def assert_installed(host: EmulatedHost) -> None:
    """Return when the project and what it requires can be imported."""
    commands = "/usr/local/bin/gpu-passthrough\n"
    assert host.sh("command -v gpu-passthrough") == commands
    module = "gpu_passthrough_plugin"
    python = "/opt/gpu-passthrough/bin/python3"
    asked = f"import {module}, libvirt, tooz; print({module}.__file__)"
    assert host.run((python, "-c", asked)).stdout == (
        f"/opt/gpu-passthrough/lib/python3.11/site-packages/{module}"
        "/__init__.py\n"
    )


def test_a_command_fails_with_its_own_words(seed_host: EmulatedHost) -> None:
    done = seed_host.run(
        ("sh", "-c", "echo a b; echo c >&2; exit 3"), check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "a b\n", "c\n")
    with pytest.raises(CommandFailed, match="status 1\ncat: /none: No such"):
        seed_host.run(("cat", "/none"))
    with pytest.raises(LabError, match="still runs after"):
        seed_host.run(("sleep", "9"), timeout_s=1.0)


def test_a_command_can_be_raced(seed_host: EmulatedHost) -> None:
    with (
        seed_host.spawn(("cat",)) as first,
        seed_host.spawn(("cat",)) as other,
    ):
        assert other.communicate(b"other")[0] == b"other"
        assert first.poll() is None
        assert first.communicate(b"first")[0] == b"first"


def test_a_machine_that_stands_still_is_said_to(
    seed_host: EmulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seed_host, "patience_s", 1.0)
    with seed_host.frozen():
        with pytest.raises(HostHung, match="true") as stopped:
            seed_host.run(("true",), timeout_s=1)
        assert re.search(r"TCG\) T \d+ ticks", str(stopped.value))
        assert "QEMU's monitor: timed out" in str(stopped.value)
        with pytest.raises(HostHung, match="false"):
            seed_host.run(("false",))
    assert seed_host.sh("echo here") == "here\n"


def test_what_a_machine_does_is_asked_of_qemu(
    seed_host: EmulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "answers", lambda *_: False)
    with pytest.raises(HostHung, match="VM status: running") as hung:
        seed_host.require_answer(("true",))
    assert str(hung.value).count("CPU#0") == 2
    assert "sysrq: Show Blocked State" in str(hung.value)
    monkeypatch.undo()
    seed_host.require_answer(("true",))
