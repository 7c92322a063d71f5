"""Commands on a ledger that a host published: columns, statuses, effects."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.trait import ConfiguredTraits

COMMAND = (
    sys.executable,
    "-c",
    "import sys; from gpu_passthrough_plugin.cli.main import main;"
    " sys.exit(main())",
)
CARDS = ["0000:06:00.0", "0000:82:00.0", "0000:83:00.0"]
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command, on a ledger with the three cards of host ``hyhive``.

    They are below three ports, and the second one is loud.
    """
    config = tmp_path / "gpu-passthrough.conf"
    config.write_text(
        f"[DEFAULT]\nhost = hyhive\nstate_path = {tmp_path}\n"
        "[allocation]\naggregates = blue, rack-2\n"
        '[pci]\nalias = {"name": "gpu", "vendor_id": "10de"}\n'
    )
    ledger = SqlLedger(LedgerSettings(f"sqlite:///{tmp_path}/ledger.sqlite"))
    ledger.sync()
    loud = ConfiguredTraits(
        selector.parse(CARDS[1]), frozenset({"CUSTOM_LOUD"})
    )
    policy = Policy((selector.parse("class=03*"),), traits=(loud,))
    tree = recorded_tree.load(recorded_tree.SEED)
    ledger.publish(
        "hyhive",
        host_snapshot.read(tree, policy).units("hyhive"),
        aggregates=frozenset({"rack-1"}),
        machine="another",
    )
    ledger.close()

    def run(*argv: str) -> tuple[int, str, str]:
        done = subprocess.run(
            (*COMMAND, "--config-file", str(config), *argv),
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def asked(cli: Cli, *argv: str) -> Any:
    """What a command that had to succeed printed as JSON."""
    status, out, err = cli(*argv, "-f", "json")
    assert status == 0, err
    return json.loads(out)


def test_columns(cli: Cli) -> None:
    """They are a contract: other people's tools read them."""
    assert list(asked(cli, "inventory", "list")[0]) == [
        "Host", "Unit", "Resource Class", "Type", "NUMA Node", "State",
        "Consumer", "Cordoned",
    ]  # fmt: skip
    assert list(asked(cli, "candidate", "list", "--request", "gpu:1")[0]) == [
        "Host", "Units", "Score",
    ]  # fmt: skip
    assert list(asked(cli, "inventory", "hosts")[0]) == [
        "Host", "Generation", "Status", "Reason", "Aggregates", "Agent",
    ]  # fmt: skip
    made = asked(cli, "allocation", "create", "--request", "gpu:2")
    assert list(made) == ["Consumer", "Host", "Units", "State"]
    assert asked(cli, "allocation", "list") == [made]
    assert list(asked(cli, "unit", "list")[0]) == [
        "Unit", "State", "Reason", "Type", "Cordoned",
    ]  # fmt: skip
    host = ("--recording", recorded_tree.SEED)
    assert list(asked(cli, *host, "device", "list")[0]) == [
        "Address", "Class", "Vendor ID", "Product ID", "Name", "Driver",
        "IOMMU Group", "NUMA Node", "Reset Methods", "Selection",
    ]  # fmt: skip
    assert list(asked(cli, *host, "group", "list")[0]) == [
        "Group", "Primary", "Functions", "NUMA Node", "Assignable", "Reasons",
        "Selection", "Findings",
    ]  # fmt: skip
    assert list(asked(cli, *host, "host", "check")[0]) == [
        "Check", "Status", "Detail", "Remedy", "Findings",
    ]  # fmt: skip


def test_a_claim_and_its_end(cli: Cli) -> None:
    before = asked(cli, "inventory", "list")
    assert [row["Unit"] for row in before] == CARDS
    consumer = str(uuid.uuid4())
    create = ("allocation", "create", "--request", "gpu:2")
    made = asked(cli, *create, "--consumer", consumer)
    assert (made["Consumer"], made["State"]) == (consumer, "claimed")
    assert made["Units"] == CARDS[1:]
    # Asked again, it is the same claim; another one does not fit.
    assert asked(cli, *create, "--consumer", consumer.upper()) == made
    status, out, err = cli(*create)
    assert (status, out, err.count("\n")) == (1, "", 1)
    shown = asked(cli, "allocation", "show", consumer)
    assert shown["Request"] == "gpu:2"
    assert len(shown["Functions"]) == 4
    assert asked(cli, "allocation", "delete", consumer)["State"] == "free"
    assert asked(cli, "inventory", "list") == before


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (("--request", "gpu:9"), "3 units have these ids: 3 free"),
        (("--request", "gpu:1", "--host", "nope"), "no host nope"),
        (
            ("--request", "gpu:1", "--aggregate", "nope"),
            "no host is in aggregate nope",
        ),
        (
            ("--request", "gpu:1", "--numa-node", "7"),
            "no unit is on node 7",
        ),
    ],
)
def test_no_candidates_have_a_reason(
    cli: Cli, options: tuple[str, ...], fact: str
) -> None:
    status, out, err = cli("candidate", "list", *options, "-f", "json")
    assert (status, json.loads(out)) == (1, [])
    (line,) = err.splitlines()
    assert fact in line


def test_a_cordoned_host_is_visible_in_every_list(cli: Cli) -> None:
    for command in ("inventory", "unit"):
        assert {r["Cordoned"] for r in asked(cli, command, "list")} == {None}
        assert {r["Type"] for r in asked(cli, command, "list")} == {"type-PCI"}
    asked(cli, "inventory", "cordon", "hyhive", "--reason", "new firmware")
    for command in ("inventory", "unit"):
        rows = asked(cli, command, "list")
        assert {r["Cordoned"] for r in rows} == {"new firmware"}
    call = ("allocation", "create", "--request", "gpu:1")
    status, _, err = cli(*call)
    assert status == 1
    assert "3 on host hyhive, cordoned: new firmware" in err


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "9" * 5000])
def test_a_limit_is_refused_in_few_words(cli: Cli, limit: str) -> None:
    call = ("candidate", "list", "--request", "gpu:1")
    status, out, err = cli(*call, f"--limit={limit}")
    assert (status, out) == (2, "")
    last = err.splitlines()[-1]
    assert "--limit" in last and "from 1 to 1000" in last
    assert len(last) < 200 + len(limit)
    assert len(asked(cli, *call, "--limit", "1")) == 1


def test_a_node_that_the_instance_is_on(cli: Cli) -> None:
    near = ("candidate", "list", "--request", "gpu:1", "--numa-node")
    assert asked(cli, *near, "0")[0]["Units"] == CARDS[:1]
    assert asked(cli, *near, "1")[0]["Units"] == CARDS[1:2]
    assert cli(*near, "7")[0] == 1


def test_what_else_is_asked_of_the_units(cli: Cli) -> None:
    call = ("candidate", "list", "--request")
    quiet = ("--forbid-trait", "CUSTOM_LOUD")
    found = asked(cli, *call, "gpu:2", *quiet, "--aggregate", "rack-1")
    assert [row["Units"] for row in found] == [[CARDS[0], CARDS[2]]]
    assert cli(*call, "gpu:3", *quiet)[0] == 1
    assert len(asked(cli, *call, "gpu:1", "--same-switch")) == 2
    assert cli(*call, "gpu:2", "--same-switch")[0] == 1
    create = ("allocation", "create", "--request", "gpu:1")
    assert cli(*create, "--aggregate", "rack-9")[0] == 1
    made = asked(cli, *create, "--numa-node", "1", *quiet)
    assert made["Units"] == CARDS[2:]


def test_traits_that_are_none(cli: Cli, tmp_path: Path) -> None:
    domain = tmp_path / "guest.xml"
    domain.write_text(
        "<domain type='kvm'><name>a</name><memory>1024</memory>"
        f"<uuid>{uuid.uuid4()}</uuid>"
        "<os><type machine='q35'>hvm</type></os></domain>"
    )
    wrong = ("--forbid-trait", "LOUD", "--forbid-trait", "CUSTOM_a")
    for call in (
        ("candidate", "list"),
        ("allocation", "create"),
        ("instance", "boot", str(domain)),
    ):
        status, out, err = cli(*call, "--request", "gpu:1", *wrong)
        assert (status, out) == (2, "")
        assert "--forbid-trait 'CUSTOM_a' is not valid" in err
        assert "--forbid-trait 'LOUD' is not valid" in err


def test_a_host_out_of_use(cli: Cli) -> None:
    (before,) = asked(cli, "inventory", "hosts")
    assert before == {
        "Host": "hyhive",
        "Generation": before["Generation"],
        "Status": "schedulable",
        "Reason": "",
        "Aggregates": ["rack-1"],
        "Agent": "no agent",
    }
    off = asked(cli, "inventory", "cordon", "hyhive", "--reason", "new roof")
    assert (off["Status"], off["Reason"]) == ("cordoned", "new roof")
    assert asked(cli, "inventory", "hosts") == [{**off, "Agent": "no agent"}]
    assert cli("candidate", "list", "--request", "gpu:1")[0] == 1
    assert cli("allocation", "create", "--request", "gpu:1")[0] == 1
    on = asked(cli, "inventory", "uncordon", "hyhive")
    assert (on["Status"], on["Reason"]) == ("schedulable", "")
    assert len(asked(cli, "candidate", "list", "--request", "gpu:1")) == 2
    for verb in ("cordon", "uncordon"):
        status, out, err = cli("inventory", verb, "nobody")
        assert (status, out) == (1, "")
        assert "nobody" in err


def test_this_machine_takes_the_place_of_another(cli: Cli) -> None:
    """Whatever it has itself: nothing of it is changed."""
    status, out, err = cli("inventory", "sync")
    assert (status, out) == (1, "")
    assert "inventory sync --replace" in err
    status, out, err = cli("inventory", "sync", "--replace", "-f", "json")
    assert (status, "removed" in err) == (0, True)
    # On most machines that run this nothing is, and that is said.
    assert ("no group of this host is assignable" in err) is (out == "[]\n")
    (host,) = asked(cli, "inventory", "hosts")
    assert host["Aggregates"] == ["blue", "rack-2"]
    # From here on it is its own.
    assert cli("inventory", "sync")[0] == 0


def test_a_unit_out_of_use(cli: Cli) -> None:
    key = f"hyhive/{CARDS[0]}"
    loud = ("unit", "quarantine", CARDS[0], "--reason", "loud fan")
    assert asked(cli, *loud) == {
        "Unit": key,
        "State": "quarantined",
        "Reason": "loud fan",
        "Type": "type-PCI",
        "Cordoned": None,
    }
    assert cli("candidate", "list", "--request", "gpu:3")[0] == 1
    # This machine has no such card, and what is not there is not clean.
    status, _, err = cli("unit", "clear", key)
    assert status == 1
    assert "missing" in err
    elsewhere = cli("unit", "clear", f"other/{CARDS[0]}")
    assert elsewhere[0] == 1
    assert "no host other" in elsewhere[2]


def test_lists_in_one_line(cli: Cli) -> None:
    """Shells get commas, not Python's lists; in CSV texts have commas."""
    call = ("candidate", "list", "--request", "gpu:2", "-f")
    status, out, _ = cli(*call, "value", "-c", "Units")
    assert (status, out.splitlines()[0]) == (0, f"{CARDS[1]},{CARDS[2]}")
    status, out, _ = cli(*call, "csv", "-c", "Units")
    assert out.splitlines()[:2] == ['"Units"', f'"{CARDS[1]};{CARDS[2]}"']


def test_one_thing_as_csv(cli: Cli) -> None:
    show = ("--recording", recorded_tree.SEED, "group", "show", "18")
    status, out, _ = cli(*show, "-f", "csv", "-c", "Group", "-c", "Primary")
    assert (status, out) == (0, f'"Group","Primary"\n"18","{CARDS[0]}"\n')


def test_debug_shows_where(cli: Cli) -> None:
    nobody = str(uuid.uuid4())
    status, _, err = cli("--debug", "allocation", "show", nobody)
    assert status == 1
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("gpu-passthrough: ")


def test_a_check_goes_on_where_the_journal_cannot_be_read(
    cli: Cli, tmp_path: Path
) -> None:
    """Of this very machine: what else it finds there does not matter."""
    journal = tmp_path / "enablement" / "changes.json"
    journal.parent.mkdir()
    journal.write_text("{")
    _, out, _ = cli("host", "check", "-f", "json")
    found = {row["Check"]: row for row in json.loads(out)}
    assert found["reboot"]["Status"] == "warn"
    assert f"{journal} is not a journal" in found["reboot"]["Detail"]
    assert {"firmware", "lock"} <= set(found)
    assert found["ledger"]["Status"] == "pass"
    ledger = f"sqlite:///{tmp_path}/ledger.sqlite schema 0006"
    assert ledger in found["ledger"]["Detail"]
    assert f"file://{tmp_path}" in found["lock"]["Detail"]
