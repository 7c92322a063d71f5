"""libvirt's hook, installed and called as libvirt does."""

from __future__ import annotations

import concurrent.futures
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.unit import State
from tests.functional.hooked import (
    AUDIO,
    GPU,
    HOST,
    ME,
    OTHER,
    SECOND,
    HookedHost,
    xml,
)
from tests.imports import imported_with
from tests.trees.hosts import virtual_functions

WHOLE = xml(GPU, AUDIO)


@pytest.fixture
def host(tmp_path: Path) -> HookedHost:
    made = HookedHost(tmp_path)
    made.install()
    return made


def test_a_guest_without_functions_is_none_of_its_business(
    host: HookedHost,
) -> None:
    (host.state / "ledger.sqlite").write_bytes(b"none")
    host.configure("[hook]\nmode = none\n")
    for operation, step in (
        ("prepare", "begin"),
        ("start", "begin"),
        ("started", "begin"),
        ("stopped", "end"),
        ("release", "end"),
        ("reconnect", "begin"),
        ("migrate", "begin"),
        ("restore", "begin"),
    ):
        assert host.call(xml(), operation, step).returncode == 0
    usb = "<hostdev type='usb'><source><vendor id='0x1'/></source></hostdev>"
    text = xml().replace("<devices>", f"<devices>{usb}")
    assert host.call(text).returncode == 0


def test_other_steps_are_not_looked_at(host: HookedHost) -> None:
    for operation, step in (("started", "begin"), ("migrate", "begin")):
        done = host.call(b"\0 is no XML", operation, step)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_whole_group_is_claimed_and_given_back(host: HookedHost) -> None:
    done = host.call(WHOLE)
    assert (done.returncode, done.stderr) == (0, "")
    assert host.states()[GPU] == ("active", ME)
    assert host.call(WHOLE).returncode == 0
    done = host.call(WHOLE, "release", "end")
    assert (done.returncode, done.stderr) == (0, "")
    assert host.states()[GPU] == ("releasing", ME)


def test_a_primary_whose_companion_is_reserved(host: HookedHost) -> None:
    assert host.call(xml(GPU)).returncode == 0
    assert host.states()[GPU] == ("active", ME)


def loosen(host: HookedHost, address: str, driver: str) -> None:
    path = host.root / f"sys/bus/pci/devices/{address}/uevent"
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("DRIVER=")]
    path.write_text("\n".join([f"DRIVER={driver}", *kept, ""]))


def test_half_a_group_is_refused_in_one_line(host: HookedHost) -> None:
    loosen(host, AUDIO, "snd_hda_intel")
    done = host.call(xml(GPU))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    for word in ("domain guest", GPU, AUDIO, "snd_hda_intel"):
        assert word in done.stderr
    assert host.states()[GPU] == ("free", None)
    # libvirt tells of the end of what it did not start as well.
    assert host.call(xml(GPU), "release", "end").returncode == 0
    assert host.states()[GPU] == ("free", None)


def use(host: HookedHost, address: str, node: str) -> None:
    """Have a process hold a device file of a function's sound card."""
    function = host.root / f"sys/bus/pci/devices/{address}"
    device = function / "sound/card9"
    device.mkdir(parents=True)
    (device / "uevent").write_text(f"DEVNAME={node.removeprefix('/dev/')}\n")
    files = host.root / "proc/77/fd"
    files.mkdir(parents=True)
    (files.parent / "comm").write_text("pipewire\n")
    (files / "5").symlink_to(node)


def test_what_a_process_has_open_is_not_taken_from_its_driver(
    host: HookedHost,
) -> None:
    """libvirt would wait for the process, and each call to it as well."""
    loosen(host, AUDIO, "snd_hda_intel")
    use(host, AUDIO, "/dev/snd/controlC9")
    done = host.call(WHOLE)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    for word in (AUDIO, "pipewire (process 77)", "/dev/snd/controlC9"):
        assert word in done.stderr
    assert host.states()[GPU] == ("free", None)
    # libvirt leaves it on vfio-pci, whatever is open.
    loosen(host, AUDIO, "vfio-pci")
    assert host.call(WHOLE).returncode == 0


def test_what_cannot_be_read_of_processes_keeps_no_guest(
    host: HookedHost,
) -> None:
    loosen(host, AUDIO, "snd_hda_intel")
    use(host, AUDIO, "/dev/snd/controlC9")
    shutil.rmtree(host.root / "proc/77/fd")
    (host.root / "proc/77/fd").write_text("no folder")
    assert host.call(WHOLE).returncode == 0


def test_anothers_unit_is_refused(host: HookedHost) -> None:
    assert host.call(xml(GPU, AUDIO, uuid=OTHER)).returncode == 0
    before = host.states()
    done = host.call(WHOLE)
    assert done.returncode == 1
    assert OTHER in done.stderr
    assert host.call(WHOLE, "release", "end").returncode == 0
    assert host.states() == before


def test_all_or_none(host: HookedHost) -> None:
    assert host.call(xml(*SECOND, uuid=OTHER)).returncode == 0
    before = host.states()
    assert host.call(xml(GPU, AUDIO, *SECOND)).returncode == 1
    assert host.states() == before


@pytest.mark.parametrize(
    "text",
    [
        b"",
        WHOLE.encode()[:-20],
        WHOLE.encode("utf-16"),
        f"<!DOCTYPE domain []>{WHOLE}".encode(),
        WHOLE.replace("0x06", "0x106").encode(),
        WHOLE.replace(ME, "none").encode(),
        xml("0000:77:00.0").encode(),
        (WHOLE + "\0").encode(),
    ],
)
def test_what_is_not_understood_starts_no_guest(
    host: HookedHost, text: bytes
) -> None:
    done = host.call(text)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Traceback" not in done.stderr
    # A running guest is never killed by it.
    for operation, step in (("reconnect", "begin"), ("release", "end")):
        assert host.call(text, operation, step).returncode == 0
    assert {state for state, _ in host.states().values()} == {"free"}


@pytest.mark.parametrize("broken", ["none", "text", "schema"])
def test_without_a_ledger_no_function_goes_to_a_guest(
    host: HookedHost, broken: str
) -> None:
    file = host.state / "ledger.sqlite"
    if broken == "none":
        file.unlink()
    elif broken == "text":
        file.write_bytes(b"no database" * 1000)
    else:
        ledger = host.ledger()
        with ledger.database.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE alembic_version SET version_num='x'"
            )
        ledger.close()
    done = host.call(WHOLE)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "ledger" in done.stderr
    assert host.call(WHOLE, "reconnect").returncode == 0
    assert host.call(xml()).returncode == 0


def test_without_sysfs_no_function_goes_to_a_guest(host: HookedHost) -> None:
    config = host.root / f"sys/bus/pci/devices/{AUDIO}/config"
    config.write_bytes(b"\xff" * 64)
    done = host.call(WHOLE)
    assert AUDIO in done.stderr
    config.unlink()
    done = host.call(WHOLE)
    assert (done.returncode, "config" in done.stderr) == (1, True)


def test_a_changed_configuration_is_read(host: HookedHost) -> None:
    host.configure("[hook]\nmode = full\n")
    done = host.call(xml(GPU))
    assert done.returncode == 1
    assert host.call(WHOLE).returncode == 0
    assert host.states()[GPU] == ("active", ME)
    host.configure("[hook]\nmode = half\n")
    done = host.call(WHOLE)
    assert done.returncode == 1
    assert "[hook] mode is 'half'" in done.stderr
    assert host.call(WHOLE, "reconnect").returncode == 0


def test_what_is_claimed_for_a_guest(host: HookedHost) -> None:
    assert host.call(WHOLE).returncode == 0
    ledger = host.ledger()
    held = ledger.allocation(ME)
    assert (held.request, held.states) == (HOOK_REQUEST, (State.ACTIVE,))
    ledger.close()
    done = host.call(xml(GPU, AUDIO, uuid=OTHER))
    assert (done.returncode, ME in done.stderr) == (1, True)


def test_a_running_guest_is_claimed_for_when_libvirt_is_back(
    host: HookedHost,
) -> None:
    assert host.call(WHOLE, "reconnect").returncode == 0
    assert host.states()[GPU] == ("active", ME)
    done = host.call(xml(GPU, AUDIO, uuid=OTHER), "reconnect")
    assert done.returncode == 0
    assert ME in done.stderr
    assert host.states()[GPU] == ("active", ME)


def test_a_virtual_function_of_a_nic_is_no_unit(tmp_path: Path) -> None:
    host = HookedHost(tmp_path, virtual_functions())
    host.install()
    before = host.states()
    assert host.call(xml("0000:05:00.1")).returncode == 0
    assert host.call(xml("0000:05:00.1"), "release", "end").returncode == 0
    assert host.states() == before


def test_what_is_excluded_is_refused(tmp_path: Path) -> None:
    host = HookedHost(tmp_path, virtual_functions())
    host.configure("[discovery]\nexclude = 15b3:1018\n")
    host.install()
    done = host.call(xml("0000:05:00.1"))
    assert (done.returncode, "exclude" in done.stderr) == (1, True)


def test_a_guest_that_starts_anew_waits_for_what_it_had(
    host: HookedHost,
) -> None:
    """As a hard reboot: nothing of it is free yet when it starts again."""
    assert host.call(WHOLE).returncode == 0
    assert host.call(WHOLE, "release", "end").returncode == 0
    with concurrent.futures.ThreadPoolExecutor() as pool:
        starting = pool.submit(host.call, WHOLE)
        time.sleep(1)
        assert not starting.done()
        ledger = host.ledger()
        for state in (State.SANITISING, State.FREE):
            (record,) = [r for r in ledger.records() if r.consumer == ME]
            assert not starting.done()
            ledger.move(record, state)
        ledger.close()
        assert starting.result().returncode == 0
    assert host.states()[GPU] == ("active", ME)


def test_it_waits_no_longer_than_it_is_told(host: HookedHost) -> None:
    host.configure("[hook]\nwait_s = 1\n")
    host.install()
    assert host.call(WHOLE).returncode == 0
    assert host.call(WHOLE, "release", "end").returncode == 0
    done = host.call(WHOLE)
    assert done.returncode == 1
    for datum in (f"{HOST}/{GPU}", "[hook] wait_s", f"hook release {ME}"):
        assert datum in done.stderr


def test_two_guests_for_one_unit(host: HookedHost) -> None:
    rivals = [f"{n:08x}-8d1f-4c8e-9a57-0d6b6e0f4a11" for n in range(2)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for _ in range(10):
            texts = [xml(GPU, AUDIO, uuid=uuid) for uuid in rivals]
            ends = [d.returncode for d in pool.map(host.call, texts)]
            assert sorted(ends) == [0, 1]
            winner = rivals[ends.index(0)]
            assert host.states()[GPU] == ("active", winner)
            ledger = host.ledger()
            (record,) = ledger.allocation(winner).units
            for state in (State.RELEASING, State.SANITISING, State.FREE):
                record = ledger.move(record, state)
            ledger.close()


def test_killed_anywhere_all_or_none_is_claimed(host: HookedHost) -> None:
    text = xml(GPU, AUDIO, *SECOND)
    begun = time.monotonic()
    assert host.call(text).returncode == 0
    whole_s = time.monotonic() - begun
    given_back(host)
    holders = set()
    for number in range(16):
        with subprocess.Popen(
            (host.program, "guest", "prepare", "begin", "-"),
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdin is not None
            process.stdin.write(text.encode())
            process.stdin.close()
            # The last one ends before it is killed, however slow this is.
            time.sleep(whole_s * number / 8)
            if number == 15:
                process.wait()
            process.kill()
        states = host.states()
        (holder,) = {states[GPU][1], states[SECOND[0]][1]}
        holders.add(holder)
        # Whatever is left of it is taken up by the next.
        assert host.call(text).returncode == 0
        states = host.states()
        assert {states[GPU], states[SECOND[0]]} == {("active", ME)}
        given_back(host)
    assert holders == {None, ME}


def given_back(host: HookedHost) -> None:
    """What the guest has is free again."""
    ledger = host.ledger()
    for record in ledger.allocation(ME).units:
        for state in (State.RELEASING, State.SANITISING, State.FREE):
            record = ledger.move(record, state)
    ledger.close()


def test_what_takes_long_to_import_is_left_out() -> None:
    """libvirt waits: the command's own framework is not needed."""
    heavy = {"cliff", "libvirt", "oslo_config", "sqlalchemy", "tooz"}
    assert not heavy & imported_with(
        "gpu_passthrough_plugin.flow.hook",
        "gpu_passthrough_plugin.cli.context",
        "gpu_passthrough_plugin.cli.libvirt_hook",
    )


def test_what_is_claimed_by_hand_becomes_active(host: HookedHost) -> None:
    ledger = host.ledger()
    (key,) = [
        r.unit.key for r in ledger.records() if str(r.unit.key.address) == GPU
    ]
    ledger.claim_units([key], ME, "gpu:1")
    ledger.close()
    assert host.call(xml(*SECOND)).returncode == 1
    assert host.call(WHOLE).returncode == 0
    assert host.states()[GPU] == ("active", ME)
    assert key.host == HOST


def test_an_end_that_the_ledger_does_not_hear_of_is_noted(
    host: HookedHost,
) -> None:
    assert host.call(WHOLE).returncode == 0
    file = host.state / "ledger.sqlite"
    away = file.rename(host.state / "away.sqlite")
    done = host.call(WHOLE, "release", "end")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    away.rename(file)
    entry = host.state / "ended" / ME
    assert entry.stat().st_mode & 0o777 == 0o600
    assert entry.parent.stat().st_mode & 0o777 == 0o700
    # Heard of, it is not needed any longer where nothing is to be released.
    other = xml(*SECOND, uuid=OTHER)
    assert host.call(other, "release", "end").returncode == 0
    assert [path.name for path in entry.parent.iterdir()] == [ME]
