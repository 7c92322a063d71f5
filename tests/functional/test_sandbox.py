"""``--sandbox``: commands that act on recorded hosts, and on nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.functional import confined
from tests.functional.test_commands import CARDS, COMMAND
from tests.trees.recordings import FOLDER

Cli = Callable[..., tuple[int, str, str]]
BOOT = ("instance", "boot", "--request", "gpu:1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sandbox"


@pytest.fixture
def cli(folder: Path) -> Cli:
    def run(*argv: str) -> tuple[int, str, str]:
        done = subprocess.run(
            (*COMMAND, "--sandbox", str(folder), *argv),
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def asked(cli: Cli, *argv: str) -> Any:
    status, out, err = cli(*argv, "-f", "json")
    assert status == 0, err
    return json.loads(out)


def states(cli: Cli) -> list[str]:
    return [unit["State"] for unit in asked(cli, "unit", "list")]


def refused(cli: Cli, *argv: str) -> str:
    status, out, err = cli(*argv)
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    return line


def test_it_says_once_that_it_was_made(cli: Cli, folder: Path) -> None:
    status, out, err = cli("device", "list", "-f", "value", "-c", "Address")
    assert status == 0
    assert set(CARDS) < set(out.split())
    (line,) = err.splitlines()
    assert str(folder) in line
    assert cli("device", "list")[2] == ""
    assert states(cli) == []


def test_units_and_events(cli: Cli) -> None:
    units = asked(cli, "inventory", "sync")
    assert [unit["Unit"] for unit in units] == CARDS
    assert asked(cli, "candidate", "list", "--request", "gpu:2")
    made = asked(cli, "allocation", "create", "--request", "gpu:2")
    assert sorted(states(cli)) == ["claimed", "claimed", "free"]
    asked(cli, "allocation", "delete", made["Consumer"])
    first = f"hyhive/{CARDS[0]}"
    asked(cli, "unit", "quarantine", first, "--reason", "a fan rattles")
    assert states(cli) == ["quarantined", "free", "free"]
    asked(cli, "unit", "clear", first)
    steps = asked(cli, "unit", "check", first)
    assert {step["Result"] for step in steps} == {"passed"}
    history = asked(cli, "unit", "history", first)
    assert "a fan rattles" in [event["Reason"] for event in history]
    assert len(asked(cli, "event", "list")) >= len(history)
    asked(cli, "inventory", "cordon", "hyhive")
    assert cli("allocation", "create", "--request", "gpu:1")[0] == 1


def test_a_guest_outlives_the_command(cli: Cli, folder: Path) -> None:
    asked(cli, "inventory", "sync")
    booted = asked(cli, *BOOT, str(folder / "guest.xml"))
    (listed,) = asked(cli, "instance", "list")
    assert listed["Instance"] == booted["Instance"]
    assert (listed["Guest"], listed["State"]) == ("running", "active")
    assert listed["Definition"] == "transient"
    status, _, err = cli(*BOOT, str(folder / "guest.xml"))
    assert (status, booted["Instance"] in err) == (1, True)
    assert asked(cli, "instance", "release", "guest-1")["State"] == "free"
    assert states(cli) == ["free"] * 3


def test_a_defined_guest_is_unplugged_and_plugged(
    cli: Cli, folder: Path
) -> None:
    asked(cli, "inventory", "sync")
    asked(cli, *BOOT, str(folder / "guest.xml"), "--autostart")
    asked(cli, "instance", "detach", "guest-1")
    assert states(cli) == ["free"] * 3
    asked(cli, "instance", "attach", "guest-1", "--live", "--request", "gpu:2")
    assert sorted(states(cli)) == ["active", "active", "free"]
    shown = asked(cli, "instance", "show", "guest-1")
    assert (shown["Guest"], len(shown["Functions"])) == ("running", 4)
    asked(cli, "instance", "release", "guest-1")
    assert states(cli) == ["free"] * 3
    assert asked(cli, "agent", "reconcile") == []


def test_drivers_change_hands(cli: Cli, folder: Path) -> None:
    """What is done shows in later commands that read the host."""
    recording = FOLDER / "amd.umockdev"
    asked(cli, "--recording", str(recording), "inventory", "sync")

    def drivers() -> dict[str, str]:
        listed = asked(cli, "device", "list")
        return {d["Address"]: d["Driver"] for d in listed}

    before = drivers()
    booted = asked(cli, *BOOT, str(folder / "guest.xml"))
    functions = asked(cli, "instance", "show", "guest-1")["Functions"]
    assert set(functions) >= set(booted["Units"])
    taken = {f: "vfio-pci" for f in functions}
    assert drivers() == before | taken != before
    asked(cli, "instance", "release", "guest-1")
    assert drivers() == before


def test_who_edits_the_machine_plays_a_part(cli: Cli, folder: Path) -> None:
    """A guest that is gone has ended, and a card can fall silent."""
    asked(cli, "inventory", "sync")
    asked(cli, *BOOT, str(folder / "guest.xml"))
    path = folder / "hosts/hyhive/machine.json"
    machine = json.loads(path.read_text())
    path.write_text(json.dumps({**machine, "guests": {}}))
    (listed,) = asked(cli, "instance", "list")
    assert listed["Guest"] == "gone"
    (found,) = asked(cli, "agent", "reconcile")
    assert (found["Act"], states(cli)) == ("release", ["free"] * 3)
    asked(cli, *BOOT, str(folder / "guest.xml"))
    machine = json.loads(path.read_text())
    path.write_text(json.dumps({**machine, "silent": [CARDS[0]]}))
    assert cli("instance", "release", "guest-1")[0] == 1
    assert states(cli) == ["quarantined", "free", "free"]
    assert cli("unit", "clear", CARDS[0])[0] == 1
    machine = json.loads(path.read_text())
    path.write_text(json.dumps({**machine, "silent": []}))
    asked(cli, "unit", "clear", CARDS[0])
    assert states(cli) == ["free"] * 3


def test_options_that_lead_elsewhere(
    cli: Cli, folder: Path, tmp_path: Path
) -> None:
    """A configuration of a real host does no harm."""
    config = tmp_path / "real.conf"
    config.write_text(
        f"[DEFAULT]\nhost = real\nstate_path = {tmp_path}/state\n"
        "[allocation]\ndriver = placement\n"
        "[placement]\nauth_url = http://127.0.0.1:9/\nusername = nova\n"
        "[database]\nconnection = mysql+pymysql://127.0.0.1:9/ledger\n"
        "[coordination]\nbackend_url = etcd3+http://127.0.0.1:9\n"
        f"[release]\nsanitise_command = /usr/bin/touch {tmp_path}/wiped\n"
        "[libvirt]\nconnection_uri = qemu:///system\n"
        '[pci]\nalias = {"name": "quadro", "product_id": "1430",'
        ' "vendor_id": "10de"}\n'
    )
    real = ("--config-file", str(config))
    assert asked(cli, *real, "inventory", "sync")[0]["Host"] == "hyhive"
    boot = ("instance", "boot", str(folder / "guest.xml"))
    asked(cli, *real, *boot, "--request", "quadro:1")
    asked(cli, *real, "instance", "release", "guest-1")
    assert "--sandbox" in refused(cli, *real, "nova", "recycle")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "real.conf", "sandbox"
    ]  # fmt: skip


def test_a_fleet(cli: Cli, folder: Path) -> None:
    for name in ("amd", "shared-group"):
        path = FOLDER / f"{name}.umockdev"
        (folder.parent / f"{name}.umockdev").write_bytes(path.read_bytes())
    given = [
        word
        for name in ("amd", "shared-group")
        for word in ("--recording", str(folder.parent / f"{name}.umockdev"))
    ]
    asked(cli, *given, "inventory", "sync")
    second = ("--sandbox-host", "shared-group")
    asked(cli, *second, "inventory", "sync")
    hosts = [h["Host"] for h in asked(cli, "inventory", "hosts")]
    assert hosts == ["amd", "shared-group"]
    asked(cli, *second, *BOOT, str(folder / "guest.xml"))
    (listed,) = asked(cli, "instance", "list")
    assert listed["Host"] == "shared-group"
    status, _, err = cli("instance", "release", listed["Instance"])
    assert (status, "not on this host (amd)" in err) == (1, True)
    asked(cli, *second, "instance", "release", listed["Instance"])
    # The same again adds nothing; others are added.
    assert cli(*given, "inventory", "hosts")[2] == ""
    more = ("--recording", str(FOLDER / "four-functions.umockdev"))
    assert "four-functions" in cli(*more, "inventory", "hosts")[2]
    assert "four-functions" in refused(
        cli, "--sandbox-host", "nobody", "device", "list"
    )
    changed = folder.parent / "amd.umockdev"
    changed.write_bytes((FOLDER / "microvm.umockdev").read_bytes())
    status, _, err = cli("--recording", str(changed), "device", "list")
    assert (status, len(err.splitlines())) == (1, 1)


@pytest.mark.parametrize(
    "call",
    [
        ("host", "enable"),
        ("host", "disable"),
        ("hook", "install"),
        ("hook", "remove"),
    ],
)
def test_what_needs_a_machine_says_so(cli: Cli, call: tuple[str, ...]) -> None:
    cli("device", "list")
    assert "--sandbox" in refused(cli, *call)


def test_a_plan_can_be_shown(cli: Cli) -> None:
    recording = ("--recording", str(FOLDER / "debian12.umockdev"))
    assert asked(cli, *recording, "host", "enable", "--dry-run")


def test_other_folders_are_refused(cli: Cli, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "letter.txt").write_text("mine")
    assert "not a sandbox" in refused(cli, "device", "list")
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]
    (folder / "letter.txt").unlink()
    assert cli("device", "list")[0] == 0
    marker = folder / "sandbox.json"
    made = json.loads(marker.read_text())
    marker.write_text(json.dumps({**made, "format": 2, "release": "9.1"}))
    assert "release 9.1" in refused(cli, "device", "list")
    marker.write_text("{")
    assert "damaged" in refused(cli, "device", "list")


def test_a_damaged_machine(cli: Cli, folder: Path) -> None:
    cli("device", "list")
    (folder / "hosts/hyhive/machine.json").write_text('{"format": 1}')
    assert "machine.json" in refused(cli, "device", "list")


def test_other_options_that_name_a_host(cli: Cli) -> None:
    assert "two hosts" in refused(cli, "--root", "/usr", "device", "list")
    done = subprocess.run(
        (*COMMAND, "--sandbox-host", "a", "device", "list"),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "--sandbox DIR" in done.stderr) == (2, True)


def test_two_processes_at_once(folder: Path) -> None:
    """One makes it, and both claim: no card is given away twice."""
    call = (*COMMAND, "--sandbox", str(folder))
    makers = [
        subprocess.Popen((*call, "inventory", "sync"), stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = b"".join(maker.communicate()[1] for maker in makers)
    assert [maker.returncode for maker in makers] == [0, 0]
    assert said.count(b"made sandbox") == 1
    text = (folder / "guest.xml").read_text()
    for number in range(2):
        guest = text.replace("guest-1", f"guest-{number}")
        (folder / f"{number}.xml").write_text(guest)
    booters = [
        subprocess.Popen((*call, *BOOT, str(folder / f"{number}.xml")))
        for number in range(2)
    ]
    assert [booter.wait() for booter in booters] == [0, 0]
    listed = subprocess.run(
        (*call, "instance", "list", "-f", "json"), capture_output=True
    )
    instances = json.loads(listed.stdout)
    assert {i["Guest"] for i in instances} == {"running"}
    assert len({unit for i in instances for unit in i["Units"]}) == 2


def test_nothing_outside_is_written(folder: Path, tmp_path: Path) -> None:
    """The kernel refuses it, where it can, and Python tells of each try."""
    folder.mkdir(mode=0o700)
    guest = str(folder / "guest.xml")
    for call in (
        ("inventory", "sync"),
        (*BOOT, guest, "--define"),
        ("instance", "list"),
        ("topology", "-o", str(folder / "host.svg")),
        ("instance", "detach", "guest-1"),
        ("instance", "attach", "guest-1", "--live", "--request", "gpu:1"),
        ("instance", "release", "guest-1"),
        ("unit", "check", CARDS[0]),
        ("agent", "reconcile"),
        ("host", "check"),
        ("host", "verify"),
        ("nova", "config", "-o", str(folder / "nova")),
        ("db", "sync"),
    ):
        done = confined.run(
            folder, tmp_path / "log", "--sandbox", str(folder), *call
        )
        assert (done.outside, done.status) == ([], 0), (call, done.err)


def test_the_kernel_is_asked(folder: Path, tmp_path: Path) -> None:
    """That test would see what is written elsewhere."""
    folder.mkdir(mode=0o700)
    other = tmp_path / "other"
    done = confined.run(
        folder, tmp_path / "log", "--sandbox", str(folder),
        "--log-file", str(other), "topology",
    )  # fmt: skip
    assert str(other) in done.outside[0]
    assert other.exists() is not confined.has_landlock()
