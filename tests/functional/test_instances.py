"""Instances as operators see and name them, with libvirt's test driver."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import libvirt
import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.main import main
from gpu_passthrough_plugin.flow.boot import boot
from gpu_passthrough_plugin.flow.instance_sources import (
    InstanceSources,
    observe,
    sources,
)
from gpu_passthrough_plugin.formats import timestamp
from gpu_passthrough_plugin.host.hypervisor import Hypervisor
from gpu_passthrough_plugin.model.guest import GuestState
from gpu_passthrough_plugin.model.hook import HOOK_REQUEST
from gpu_passthrough_plugin.model.reading import Unknown
from gpu_passthrough_plugin.model.unit import State
from tests.functional.acts import URI
from tests.functional.hooked import AUDIO, GPU, hostdev
from tests.functional.world import HOST, OTHER, UUID, World, guest, wanted

Cli = Callable[..., tuple[int, str, str]]
COLUMNS = [
    "Instance", "Name", "Host", "Units", "State", "Guest", "Since", "By",
    "Definition",
]  # fmt: skip


@pytest.fixture
def cli(world: World, capfd: pytest.CaptureFixture[str]) -> Cli:
    """The command on this world's ledger, journal and libvirt."""
    return command(world, capfd, URI)


def command(world: World, capfd: pytest.CaptureFixture[str], uri: str) -> Cli:
    config = world.folder / "gpu-passthrough.conf"

    def run(*words: str) -> tuple[int, str, str]:
        config.write_text(
            f"[DEFAULT]\nhost = {HOST}\nstate_path = {world.folder}\n"
            f"[libvirt]\nconnection_uri = {uri}\n"
        )
        capfd.readouterr()
        status = main(["--config-file", str(config), *words])
        return status, *capfd.readouterr()

    return run


def asked(cli: Cli, *words: str) -> Any:
    status, out, err = cli(*words, "-f", "json")
    assert status == 0, err
    return json.loads(out)


@pytest.fixture
def defined(world: World) -> Iterator[Callable[..., Any]]:
    """Defines a domain, until the test ends."""
    made = []

    def define(**how: str) -> Any:
        text = guest(**how).text.decode()
        made.append(world.hypervisor._connection.defineXML(text))
        return made[-1]

    yield define
    for domain in made:
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)


def test_a_guests_life_in_the_list(world: World, cli: Cli) -> None:
    status, out, err = cli("instance", "list", "-f", "value")
    assert (status, out.strip()) == (0, "")
    assert "no instance holds a unit" in err
    boot(world.context(), guest(), wanted())
    world.ledger.claim(wanted(), OTHER)
    claimed, booted = asked(cli, "instance", "list")
    assert list(booted) == COLUMNS
    since = booted.pop("Since")
    assert re.fullmatch(r"\d{4}(-\d\d){2}T\d\d:\d\d:\d\d\.\d{3}Z", since)
    assert booted == {
        "Instance": UUID,
        "Name": "guest",
        "Host": HOST,
        "Units": [GPU],
        "State": "active",
        "Guest": "running",
        "By": "command",
        "Definition": "transient",
    }
    assert (claimed["Instance"], claimed["Name"]) == (OTHER, "")
    assert (claimed["State"], claimed["Guest"]) == ("claimed", "not started")
    world.hypervisor.destroy(UUID)
    _, ended = asked(cli, "instance", "list")
    # libvirt has forgotten its name.
    assert (ended["Name"], ended["Guest"]) == ("guest", "gone")


def test_an_instance_is_shown_by_each_of_its_names(
    world: World, cli: Cli
) -> None:
    boot(world.context(), guest(), wanted())
    for text in (UUID, UUID.upper(), UUID[:8], "guest"):
        shown = asked(cli, "instance", "show", text)
        assert list(shown) == [*COLUMNS, "Request", "Functions"]
        assert (shown["Instance"], shown["Name"]) == (UUID, "guest")
        assert (shown["Request"], shown["Functions"]) == (
            "gpu:1",
            [GPU, AUDIO],
        )
    for text in ("nobody", OTHER):
        status, out, err = cli("instance", "show", text)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert text in err


def test_a_defined_guest(
    world: World, cli: Cli, defined: Callable[..., Any]
) -> None:
    domain = defined(devices=hostdev(GPU) + hostdev(AUDIO))
    key = world.ledger.records()[0].unit.key
    (record,) = world.ledger.claim_units([key], UUID, HOOK_REQUEST).units
    states = []
    for act in ("create", "suspend", "managedSave", "managedSaveRemove"):
        getattr(domain, act)()
        (row,) = asked(cli, "instance", "list")
        assert (row["Name"], row["By"]) == ("guest", "hook")
        assert row["Definition"] == "defined"
        assert row["Since"] is None
        states.append(row["Guest"])
    assert states == ["running", "paused", "saved", "shut off"]
    begun = timestamp.shown(time.time_ns() // 1000)
    world.ledger.move(record, State.ACTIVE)
    (row,) = asked(cli, "instance", "list")
    shown = asked(cli, "instance", "show", UUID)
    assert begun <= row["Since"] == shown["Since"]
    observed = observe(sources(world.context()))
    domain = observed.domain(UUID)
    assert domain is not None and domain.state is GuestState.SHUT_OFF
    functions = {f.address for f in record.unit.functions}
    assert domain.defined_functions == functions
    # Nobody asked for the others' definitions.
    others = [d for d in observed.domains if d.uuid != UUID]  # type: ignore[union-attr]
    assert all(isinstance(d.defined_functions, Unknown) for d in others)


def test_no_libvirt_is_unknown_and_not_gone(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    boot(world.context(), guest(), wanted())
    cli = command(world, capfd, "qemu+unix:///system?socket=/nonexistent")
    status, out, err = cli("instance", "list", "-f", "json")
    (row,) = json.loads(out)
    assert (status, row["Name"], row["Guest"]) == (0, "guest", "unknown")
    (line,) = err.splitlines()
    assert "/nonexistent" in line and "unknown" in line


def test_a_libvirt_that_never_answers_is_not_waited_for(world: World) -> None:
    def silent() -> AbstractContextManager[Hypervisor]:
        time.sleep(5)
        raise errors.Unavailable("late")

    begun = time.monotonic()
    observed = observe(
        InstanceSources(HOST, world.ledger, world.journal, silent, 0.2)
    )
    assert time.monotonic() - begun < 4
    assert isinstance(observed.domains, Unknown)
    assert "0.2 s" in observed.domains.detail


def test_a_journal_that_is_damaged_does_not_fail_the_list(
    world: World, cli: Cli
) -> None:
    boot(world.context(), guest(), wanted())
    (world.folder / "instances" / f"{OTHER}.json").write_text("{")
    status, out, err = cli("instance", "list", "-f", "json")
    (row,) = json.loads(out)
    assert (status, row["Name"], row["Guest"]) == (0, "guest", "running")
    assert OTHER in err


def test_every_command_takes_a_name_or_a_beginning(
    world: World, cli: Cli, defined: Callable[..., Any]
) -> None:
    defined(uuid=OTHER, name="claimed for")
    for text in ("claimed for", OTHER[:5], OTHER):
        world.ledger.claim(wanted(), OTHER)
        assert asked(cli, "allocation", "show", text)["Consumer"] == OTHER
        status, out, err = cli("allocation", "delete", text, "-f", "json")
        assert (status, json.loads(out)["State"]) == (0, "free")
        assert err == (
            ""
            if text == OTHER
            else f"{text!r} is instance {OTHER} (claimed for)\n"
        )
        world.ledger.claim(wanted(), OTHER)
        status, out, err = cli("instance", "release", text, "-f", "json")
        assert (status, list(json.loads(out))) == (0, COLUMNS[:5])
        assert json.loads(out)["Instance"] == OTHER
        assert json.loads(out)["Name"] == "claimed for"
        assert (f"{text!r} is instance {OTHER}" in err) is (text != OTHER)
    assert world.states() == ["free"] * 3
    key = world.ledger.records()[0].unit.key
    world.ledger.claim_units([key], UUID, HOOK_REQUEST)
    assert cli("hook", "release", UUID[:6])[0] == 0
    assert world.states() == ["free"] * 3


@pytest.mark.parametrize(
    "words",
    [("instance", "release"), ("allocation", "delete"), ("hook", "release")],
)
def test_nothing_changes_for_a_name_that_may_be_anothers(
    world: World,
    cli: Cli,
    defined: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    boot(world.context(), guest(), wanted())
    world.ledger.claim(wanted(), OTHER)
    before = world.snapshot()
    # A guest without a unit has the same beginning.
    twin = f"{UUID[:8]}-0000-4000-8000-000000000000"
    defined(uuid=twin, name=OTHER)
    status, out, err = cli(*words, UUID[:8])
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert UUID in err and twin in err
    status, out, err = cli(*words, "nobody")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert world.snapshot() == before
    # A domain's name that is another's UUID is never that domain.
    assert asked(cli, "allocation", "show", OTHER)["Consumer"] == OTHER
    deaf = command(world, capfd, "qemu+unix:///system?socket=/nonexistent")
    for text in ("guest", UUID[:13]):
        status, out, err = deaf(*words, text)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "/nonexistent" in err and "whole UUID" in err
    assert world.snapshot() == before


RELEASES = [*COLUMNS[:5], "Action", "Reason"]


def test_several_are_released_at_once(world: World, cli: Cli) -> None:
    for uuid in (UUID, OTHER):
        world.ledger.claim(wanted(), uuid)
    call = ("instance", "release", UUID, OTHER[:9])
    planned = asked(cli, *call, "--dry-run")
    assert [list(row) for row in planned] == [RELEASES, RELEASES]
    assert [row["State"] for row in planned] == ["claimed", "claimed"]
    assert world.states().count("claimed") == 2
    done = asked(cli, *call)
    assert [row["Instance"] for row in done] == [UUID, OTHER]
    assert [row["State"] for row in done] == ["free", "free"]
    assert world.states() == ["free"] * 3
    assert cli(*call)[:2] == (1, "")


def test_a_plan_for_one_is_a_row(world: World, cli: Cli) -> None:
    boot(world.context(), guest(), wanted())
    before = world.snapshot()
    (row,) = asked(cli, "instance", "release", "guest", "--dry-run")
    assert (row["Instance"], row["Name"]) == (UUID, "guest")
    assert (row["State"], row["Action"]) == ("active", "release")
    status, out, _ = cli(
        "instance", "release", UUID, "--dry-run", "-f", "csv", "-c", "name",
        "-c", "Action",
    )  # fmt: skip
    assert (status, out.splitlines()) == (
        0,
        ['"Name","Action"', '"guest","release"'],
    )
    assert world.snapshot() == before


def test_what_is_gone_by_the_command(world: World, cli: Cli) -> None:
    """The functions are not in this machine: nobody uses what is not there."""
    for option in ((), ("--dry-run",)):
        status, out, err = cli("instance", "release", "--gone", *option)
        assert (status, out.strip()) == (0, "")
        assert "no instance of this host" in err
    boot(world.context(), guest(), wanted())
    world.hypervisor.destroy(UUID)
    before = world.snapshot()
    (row,) = asked(cli, "instance", "release", "--gone", "--dry-run")
    assert list(row) == RELEASES
    assert (row["Instance"], row["Action"]) == (UUID, "release")
    assert world.snapshot() == before
    status, out, err = cli("instance", "release", "--gone", "-f", "json")
    (row,) = json.loads(out)
    assert (status, row["State"]) == (1, "quarantined")
    assert GPU in err


@pytest.mark.parametrize("words", [(), ("--dry-run",), (UUID, "--gone")])
def test_either_names_or_what_is_gone(
    cli: Cli, words: tuple[str, ...]
) -> None:
    status, out, err = cli("instance", "release", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "--gone" in err


def test_a_wrong_column_is_refused_before_a_release(
    world: World, cli: Cli
) -> None:
    world.ledger.claim(wanted(), UUID)
    for words in ((UUID,), ("--gone",)):
        status, out, err = cli("instance", "release", *words, "-c", "Foo")
        assert (status, out) == (2, "") and "'Foo'" in err
    assert world.states().count("claimed") == 1
