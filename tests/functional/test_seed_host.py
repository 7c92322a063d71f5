"""Three cards, each a group: from a bare host to a guest and back."""

from __future__ import annotations

import gc
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.functional.lab import guest, product, story
from tests.functional.lab.host import Boot, EmulatedHost
from tests.functional.lab.product import CARD, PYTHON, Product
from tests.functional.lab.ssh import HostHung, LabError
from tests.functional.lab.topology import SEED
from tests.functional.test_lab import displays, driver, groups, peers

Step = dict[str, Any]
HANGING = Path(__file__).with_name("lab") / "hanging.py"

pytest_plugins = ("tests.functional.lab.fixtures",)
pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def ours(seed_host: EmulatedHost, project_archive: bytes) -> Iterator[Product]:
    with product.installed(seed_host, project_archive) as installed:
        yield installed


@pytest.fixture
def clean(ours: Product) -> Iterator[Product]:
    """The product on a host that the test leaves as it found it."""
    before = ours.snapshot()
    yield ours
    assert ours.snapshot() == before


def booted(ours: Product, name: str, request: str, **how: str) -> str:
    """The UUID of a guest that was booted."""
    identity = str(uuid.uuid4())
    path = ours.domain(name, identity, **how)
    row = ours.asked("instance", "boot", path, "--request", request)
    assert row["Instance"] == identity
    assert row["State"] == "active"
    return identity


def test_groups_are_the_kernels(ours: Product) -> None:
    ours_by_number = {
        str(row["Group"]): set(row["Functions"])
        for row in ours.asked("group", "list")
    }
    assert ours_by_number == groups(ours.host)


def test_devices_are_the_kernels(ours: Product) -> None:
    listed = ours.host.sh("lspci -Dn").splitlines()
    rows = ours.asked("device", "list")
    assert [
        f"{r['Address']} {r['Class']}: {r['Vendor ID']}:{r['Product ID']}"
        for r in rows
    ] == [" ".join(line.split()[:3]) for line in listed]


def test_cards_are_assignable_and_the_host_is_kept(ours: Product) -> None:
    rows = ours.asked("group", "list")
    cards = displays(ours.host)
    assert [r["Primary"] for r in rows if r["Assignable"]] == [
        [card] for card in cards
    ]
    reasons = "\n".join(reason for row in rows for reason in row["Reasons"])
    assert "default route" in reasons
    assert "mount /" in reasons


def test_a_ready_host_is_said_to_be_ready(ours: Product) -> None:
    assert {r["Status"] for r in ours.asked("host", "check")} == {"pass"}


def test_a_recording_replays_the_host(ours: Product) -> None:
    ours.cli("host", "record", "/run/host.umockdev")
    replayed = ("--recording", "/run/host.umockdev", "group", "list")
    assert ours.asked(*replayed) == ours.asked("group", "list")


def test_the_old_way_fails_and_ours_succeeds(clean: Product) -> None:
    """Only function 0, as Nova's ``[pci]`` would hand it out."""
    host = clean.host
    card = displays(host)[0]
    xml = guest.domain_xml(
        "half", str(uuid.uuid4()), "/run/half.log", functions=(card,)
    )
    host.put("/run/half.xml", xml.encode())
    refused = host.run(("virsh", "create", "/run/half.xml"), check=False)
    assert "is not viable" in refused.stderr
    held = booted(clean, "whole", "gpu:1")
    assert set(CARD) <= set(clean.seen("whole"))
    audio = f"{card[:-1]}1"
    assert driver(host, card) == driver(host, audio) == "vfio-pci"
    live = host.sh("virsh dumpxml whole")
    assert live.count("<hostdev ") == 2
    assert live.count("multifunction='on'") >= 1
    clean.cli("instance", "release", held)


def test_release_asks_the_guest_first(clean: Product) -> None:
    held = booted(clean, "obedient", "gpu:1", disk=guest.OBEDIENT)
    clean.seen("obedient")
    done = clean.cli("instance", "release", held)
    assert "guest shut down" in done.stderr
    assert "powered off" not in done.stderr


def test_release_forces_a_guest_that_does_not_listen(clean: Product) -> None:
    held = booted(clean, "stubborn", "gpu:1")
    clean.seen("stubborn")
    done = clean.cli("instance", "release", held)
    assert "within 1 s; powered off" in done.stderr


def test_three_cards_go_to_one_guest(clean: Product) -> None:
    held = booted(clean, "three", "gpu:3")
    seen = clean.seen("three")
    assert [seen.count(function) for function in CARD] == [3, 3]
    clean.cli("instance", "release", held)


def test_what_does_not_fit_changes_nothing(clean: Product) -> None:
    path = clean.domain("four", str(uuid.uuid4()))
    refused = clean.cli(
        "instance", "boot", path, "--request", "gpu:4", check=False
    )
    assert refused.returncode == 1
    assert "gpu:4" in refused.stderr
    assert (
        clean.cli(
            "candidate", "list", "--request", "gpu:4", check=False
        ).returncode
        == 1
    )


def test_a_start_that_fails_is_undone(clean: Product) -> None:
    """libvirt refuses the guest after everything was bound."""
    path = clean.domain("broken", str(uuid.uuid4()), "/opt/lab/none.img")
    refused = clean.cli(
        "instance", "boot", path, "--request", "gpu:2", check=False
    )
    assert refused.returncode == 1
    assert "at step 'start'" in refused.stderr
    assert "back on snd_hda_intel" in refused.stderr


def test_a_card_that_a_process_has_open(clean: Product) -> None:
    """snd_hda_intel is taken away only when the process closes it."""
    host, audio = clean.host, f"{displays(clean.host)[0][:-1]}1"
    sound = f"/sys/bus/pci/devices/{audio}/sound/card*/controlC*/uevent"
    node = f"/dev/{host.sh(f'sed -n s/DEVNAME=//p {sound}').strip()}"
    host.put("/run/hanging.py", HANGING.read_bytes())
    argv = ("boot", clean.domain("loud", str(uuid.uuid4())), "--request")
    with host.spawn((PYTHON, "/run/hanging.py", audio, node)) as program:
        assert program.stdout and program.stdout.readline() == b"held\n"
        refused = clean.cli("instance", *argv, "gpu:3", check=False)
        shown = json.loads(program.communicate(b"\n", 300)[0])
    assert "(process " in refused.stderr and node in refused.stderr
    assert "does not let it be killed" in shown["error"]
    assert "has not finished" in shown["identity"]
    assert (shown["state"], shown["driver"]) == ("D", "snd_hda_intel")


def test_a_card_of_an_instance_cannot_be_named_again(clean: Product) -> None:
    held = booted(clean, "holder", "gpu:1")
    taken = clean.asked("allocation", "show", held)["Functions"]
    xml = guest.domain_xml(
        "thief", str(uuid.uuid4()), "/run/thief.log", functions=taken
    )
    clean.host.put("/run/thief.xml", xml.encode())
    refused = clean.cli(
        "instance", "boot", "/run/thief.xml", "--request", "gpu:1",
        check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert held in refused.stderr
    clean.cli("instance", "release", held)


def test_a_card_of_a_guest_that_nobody_claimed(clean: Product) -> None:
    """Started by hand; it is neither handed out nor reset."""
    host = clean.host
    card = displays(host)[0]
    functions = (card, f"{card[:-1]}1")
    xml = guest.domain_xml(
        "byhand", str(uuid.uuid4()), "/run/byhand.log", functions=functions
    )
    host.put("/run/byhand.xml", xml.encode())
    host.run(("virsh", "create", "/run/byhand.xml"))
    before = clean.snapshot()
    path = clean.domain("second", str(uuid.uuid4()))
    refused = clean.cli(
        "instance", "boot", path, "--request", "gpu:1", check=False
    )
    assert refused.returncode != 0
    assert "look for other users" in refused.stderr
    assert "reset" not in refused.stderr
    assert clean.snapshot() == before
    assert set(CARD) <= set(clean.seen("byhand"))
    host.run(("virsh", "destroy", "byhand"))
    # libvirt leaves a card that it saw unmanaged before on vfio-pci.
    pci = "/sys/bus/pci"
    for function in functions:
        host.sh(
            f"echo > {pci}/devices/{function}/driver_override;"
            f" echo {function} > {pci}/drivers/vfio-pci/unbind || true;"
            f" echo {function} > {pci}/drivers_probe || true"
        )


def _boot_step(ours: Product, name: str, identity: str) -> Step:
    path = ours.domain(name, identity)
    return {"argv": ["instance", "boot", path, "--request", "gpu:1"]}


def rounds(ours: Product, tries: Sequence[Sequence[Step]]) -> list[Any]:
    """What each step of each try gave."""
    return [ours.inside(*each) for each in tries]


_NEXT: Step = {"argv": ["inventory", "sync"]}
_LOOK: Step = {"snapshot": True}


@pytest.mark.rotating
def test_a_boot_killed_anywhere_is_repaired(clean: Product) -> None:
    identity = str(uuid.uuid4())
    step = _boot_step(clean, "killed", identity)
    release = {"argv": ["instance", "release", identity]}
    before, whole, _ = clean.inside(_LOOK, step, release)
    acts = whole["acts"].split()
    assert whole["status"] == 0
    assert {"claim", "rebind", "start", "move", "write"} <= set(acts)
    tries = [
        (step | {"kill_at": number}, _NEXT, _LOOK, release, _LOOK)
        for number in range(len(acts))
    ]
    results = rounds(clean, tries)
    for number, act in enumerate(acts):
        killed, repair, after, released, end = results[number]
        assert killed["status"] == -9, act
        assert repair["status"] == 0, repair["err"]
        if released["status"] == 0:
            # The guest ran with all that was claimed: finished, not undone.
            assert identity in repair["err"]
            assert product.states(after).count("active") == 1
        else:
            assert after == before, f"killed before act {number}, {act}"
        assert end == before, f"killed before act {number}, {act}"


@pytest.mark.rotating
def test_a_release_killed_anywhere_is_repaired(clean: Product) -> None:
    identity = str(uuid.uuid4())
    boot = _boot_step(clean, "killed", identity)
    release = {"argv": ["instance", "release", identity]}
    before, _, whole = clean.inside(_LOOK, boot, release)
    acts = whole["acts"].split()
    assert whole["status"] == 0
    assert {"destroy", "reset_bus", "rebind", "move"} <= set(acts)
    tries = [
        (boot, release | {"kill_at": number}, _NEXT, _LOOK, release, _LOOK)
        for number in range(len(acts))
    ]
    results = rounds(clean, tries)
    for number, act in enumerate(acts):
        up, killed, repair, after, again, end = results[number]
        assert up["status"] == 0, up["err"]
        assert killed["status"] == -9, act
        assert repair["status"] == 0, repair["err"]
        # Before the first act nothing is begun, and nothing is undone.
        assert product.states(after).count("active") == (number == 0)
        assert again["status"] == (0 if number == 0 else 1), again["err"]
        assert end == before, f"killed before act {number}, {act}"


@pytest.mark.rotating
def test_the_last_unit_has_one_winner(clean: Product) -> None:
    first = clean.asked("allocation", "create", "--request", "gpu:2")
    rivals = [str(uuid.uuid4()) for _ in range(2)]
    create = ["allocation", "create", "--request", "gpu:1", "--consumer"]
    race = {"race": [[*create, rival] for rival in rivals]}
    delete = [{"argv": ["allocation", "delete", rival]} for rival in rivals]
    for raced, look, *_ in rounds(clean, [(race, _LOOK, *delete)] * 50):
        assert sorted(r["status"] for r in raced) == [0, 1]
        assert product.states(look) == ["claimed"] * 3
        assert look["held"] == 3
    clean.cli("allocation", "delete", first["Consumer"])


def test_two_boots_for_the_last_unit(clean: Product) -> None:
    """The lock makes one wait, and the ledger lets one win."""
    first = clean.asked("allocation", "create", "--request", "gpu:2")
    rivals = {f"rival-{n}": str(uuid.uuid4()) for n in range(2)}
    running = {
        identity: clean.host.spawn(
            ("gpu-passthrough", "instance", "boot",
             clean.domain(name, identity), "--request", "gpu:1")
        )
        for name, identity in rivals.items()
    }  # fmt: skip
    ends = {i: p.communicate(b"", 180) for i, p in running.items()}
    status = {i: p.returncode for i, p in running.items()}
    assert sorted(status.values()) == [0, 1], ends
    assert any(b"waiting for the lock" in err for _, err in ends.values())
    winner = min(status, key=lambda i: status[i])
    clean.cli("instance", "release", winner)
    clean.cli("allocation", "delete", first["Consumer"])


def unit(ours: Product, card: str) -> dict[str, str]:
    """A unit's row in the list of units."""
    rows = ours.asked("unit", "list")
    return next(r for r in rows if r["Unit"].endswith(f"/{card}"))


def test_a_unit_out_of_use_is_not_offered(clean: Product) -> None:
    card = displays(clean.host)[0]
    clean.cli("unit", "quarantine", card, "--reason", "fan is loud")
    row = unit(clean, card)
    assert (row["State"], row["Reason"]) == ("quarantined", "fan is loud")
    refused = clean.cli("candidate", "list", "--request", "gpu:3", check=False)
    assert refused.returncode == 1
    clean.cli("unit", "clear", card)
    assert unit(clean, card)["State"] == "free"


@pytest.mark.rotating
def test_a_card_that_fell_off_its_bus_is_quarantined(
    boot: Boot, project_archive: bytes
) -> None:
    """Its audio function is gone when it is to be reset.

    Found again by a rescan, it is in another group than its card: only a
    reboot makes the unit what it was.
    """
    with product.installed(boot(SEED), project_archive) as fallen:
        card = displays(fallen.host)[0]
        held = booted(fallen, "falls", "gpu:1")
        fallen.host.run(("virsh", "destroy", "falls"))
        gone = f"/sys/bus/pci/devices/{card[:-1]}1"
        fallen.host.sh(f"echo 1 > {gone}/remove")
        released = fallen.cli("instance", "release", held, check=False)
        assert released.returncode == 1
        row = unit(fallen, card)
        assert row["State"] == "quarantined"
        assert f"{card[:-1]}1" in row["Reason"]
        refused = fallen.cli("unit", "clear", card, check=False)
        assert refused.returncode == 1
        assert "is not clean" in refused.stderr
        fallen.host.sh("echo 1 > /sys/bus/pci/rescan; udevadm settle")
        assert peers(fallen.host, card) == {card}
        refused = fallen.cli("unit", "clear", card, check=False)
        assert refused.returncode == 1
        assert "differs from what was published" in refused.stderr
    fallen.host.reboot()
    cleared = fallen.host.run(
        ("gpu-passthrough", "unit", "clear", card, "-f", "json")
    )
    assert json.loads(cleared.stdout)["State"] == "free"


def test_the_story_of_the_quickstart(clean: Product) -> None:
    lines: list[str] = []
    story.tell(clean, lines.append)
    assert "1002:5046" in "\n".join(lines)


def test_a_machine_that_stands_still_is_told_from_a_command(
    ours: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    step: Step = {"argv": ["group", "list"]}
    with product.running(ours.host) as other:
        with ours.host.frozen(), monkeypatch.context() as brief:
            brief.setattr(product, "_TIMEOUT_S", 1.0)
            brief.setattr(ours.host, "patience_s", 1.0)
            for _ in range(2):
                with pytest.raises(HostHung, match="group"):
                    other.inside(step)
        assert ours.host.sh("echo here") == "here\n"
        with pytest.raises(HostHung, match="group"):
            other.inside(step)
    with (
        product.running(ours.host) as other,
        pytest.raises(LabError, match=r"(?s)TypeError.* ps -eo"),
    ):
        other.inside({"race": None})
    # Nothing of theirs is left open, which would be told of another test.
    gc.collect()
