"""What commands make of what an operator types, on a published ledger."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.allocation.sql.version import REVISIONS
from gpu_passthrough_plugin.discovery import recorded_tree
from tests.functional import test_commands
from tests.functional.test_commands import CARDS, COMMAND, Cli, asked
from tests.functional.test_ledger_migrations import migrate

cli = test_commands.cli


def test_texts_with_commas_as_csv(cli: Cli) -> None:
    show = ("--recording", recorded_tree.SEED, "group", "show", "13")
    _, out, _ = cli(*show, "-f", "csv", "-c", "Reasons")
    _, line = csv.reader(out.splitlines())
    assert line[0].split(";") == asked(cli, *show)["Reasons"]
    assert any("," in reason for reason in line[0].split(";"))


def test_a_score_has_a_figure_for_each_of_its_parts(cli: Cli) -> None:
    call = ("candidate", "list", "--request", "gpu:1")
    number = asked(cli, *call)[0]["Score"]
    _, out, _ = cli(*call, "-f", "value", "-c", "Score")
    figures = out.splitlines()[0].split(".")
    assert len(figures) == 7
    assert int("".join(figures)) == number > 0


def test_an_empty_consumer_is_not_a_new_one(cli: Cli) -> None:
    create = ("allocation", "create", "--request", "gpu:1")
    status, out, err = cli(*create, "--consumer", "")
    assert (status, out) == (2, "")
    assert "--consumer is empty; expected UUID" in err
    status, out, err = cli("allocation", "list", "-f", "value")
    assert (status, out.strip()) == (0, "")
    assert "no consumer" in err


def test_a_claim_is_not_lost_with_its_output(cli: Cli, tmp_path: Path) -> None:
    config = str(tmp_path / "gpu-passthrough.conf")
    create = ("allocation", "create", "--request", "gpu:1")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            (*COMMAND, "--config-file", config, *create),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    (held,) = asked(cli, "allocation", "list")
    assert held["Consumer"] in done.stderr
    assert "cannot write to stdout" in done.stderr


def test_a_recording_changes_no_ledger(cli: Cli) -> None:
    before = asked(cli, "inventory", "hosts"), asked(cli, "unit", "list")
    for option in (("--recording", recorded_tree.SEED), ("--root", "/usr")):
        for verb in (
            ("allocation", "create", "--request", "gpu:1"),
            ("inventory", "cordon", "hyhive"),
            ("inventory", "uncordon", "hyhive"),
            ("db", "sync"),
            ("unit", "quarantine", CARDS[0]),
        ):
            status, out, err = cli(*option, *verb)
            assert (status, out) == (2, "")
            assert option[0] in err and "read-only" in err
    assert before == (
        asked(cli, "inventory", "hosts"),
        asked(cli, "unit", "list"),
    )


def test_a_log_file_tells_what_was_done(cli: Cli, tmp_path: Path) -> None:
    log = tmp_path / "log"
    made = asked(
        cli, "--log-file", str(log), "allocation", "create",
        "--request", "gpu:1",
    )  # fmt: skip
    lines = log.read_text().splitlines()
    assert any(
        made["Consumer"] in line and made["Units"][0] in line for line in lines
    )
    assert all(line.startswith("20") for line in lines)
    status, _, err = cli("-v", "inventory", "cordon", "hyhive")
    assert (status, "cordoned hyhive" in err) == (0, True)


def test_a_unit_is_named_by_any_of_its_functions(cli: Cli) -> None:
    name = CARDS[0].replace(":", "_").replace(".", "_")
    for text in (CARDS[0][:-1] + "1", f"pci_{name}"):
        unit = asked(cli, "unit", "quarantine", text, "--reason", "fan")
        assert unit["Unit"] == f"hyhive/{CARDS[0]}"
    show = ("--recording", recorded_tree.SEED, "group", "show")
    for text in ("18", CARDS[0], CARDS[0][:-1] + "1", f"pci_{name}"):
        assert asked(cli, *show, text)["Group"] == 18


def test_what_no_rows_mean(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "empty.conf"
    (tmp_path / "empty").mkdir()
    config.write_text(
        f"[DEFAULT]\nhost = hyhive\nstate_path = {tmp_path}/empty\n"
    )
    sync = ("--config-file", str(config), "db", "sync")
    ledger = f"ledger sqlite:///{tmp_path}/empty/ledger.sqlite"
    for said in (f"created {ledger}, schema", f"{ledger} is up to date, sch"):
        status, _, err = cli(*sync)
        assert (status, err.startswith(said)) == (0, True)
    for verb in (
        ("inventory", "list"),
        ("inventory", "hosts"),
        ("unit", "list"),
        ("allocation", "list"),
    ):
        call = ("--config-file", str(config), *verb)
        status, out, err = cli(*call)
        assert (status, out.strip(), err.count("\n")) == (0, "", 1)
        assert "gpu-passthrough inventory" in err
        assert asked(cli, *call) == []


def test_a_wrong_column_is_refused_before_the_act(
    cli: Cli, tmp_path: Path
) -> None:
    before = asked(cli, "inventory", "hosts"), asked(cli, "unit", "list")
    folder = str(tmp_path / "nova")
    seed = ("--recording", recorded_tree.SEED)
    for verb in (
        ("allocation", "create", "--request", "gpu:1"),
        ("inventory", "cordon", "hyhive"),
        ("unit", "quarantine", CARDS[0]),
        (*seed, "nova", "config", "-o", folder),
    ):
        status, out, err = cli(*verb, "-c", "Foo")
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "-c 'Foo' is not a column" in err
    assert asked(cli, "allocation", "list") == []
    assert not (tmp_path / "nova").exists()
    assert before == (
        asked(cli, "inventory", "hosts"),
        asked(cli, "unit", "list"),
    )
    status, _, err = cli(
        *seed, "nova", "config", "-o", folder, "--sort-column", "Contents"
    )
    assert (status, "--sort-column 'Contents'" in err) == (2, True)


def test_two_hosts_are_refused(cli: Cli) -> None:
    verify = ("host", "verify", "--report", "/nonexistent")
    for option, path in (
        ("--root", "/usr"),
        ("--recording", recorded_tree.SEED),
    ):
        status, out, err = cli(option, path, *verify)
        assert (status, out) == (2, "")
        assert f"{option} {path} and --report /nonexistent are two" in err


def test_an_older_ledger_is_upgraded(cli: Cli, tmp_path: Path) -> None:
    config, url = tmp_path / "old.conf", f"sqlite:///{tmp_path}/old.sqlite"
    config.write_text(f"[database]\nconnection = {url}\n")
    database = SqlLedger(LedgerSettings(url)).database
    with database.engine.begin() as connection:
        migrate(connection, "0001")
    database.close()
    state = ("--config-file", str(tmp_path / "gpu-passthrough.conf"))
    status, _, err = cli(*state, "--config-file", str(config), "db", "sync")
    said = f"upgraded ledger {url} from schema 0001 to {REVISIONS[-1]}\n"
    assert (status, err) == (0, said)


def test_a_cordon_keeps_its_reason(cli: Cli) -> None:
    call = ("inventory", "cordon", "hyhive")
    for words, reason in (
        ((), "by the operator"),
        (("--reason", "disk"), "disk"),
        ((), "disk"),
        (("--reason", "fan"), "fan"),
    ):
        assert asked(cli, *call, *words)["Reason"] == reason
    asked(cli, "inventory", "uncordon", "hyhive")
    assert asked(cli, *call)["Reason"] == "by the operator"


def test_a_claim_that_is_repeated(cli: Cli) -> None:
    uuid = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
    create = ("allocation", "create", "--consumer", uuid, "--request")
    for said in ("claimed ", "already held: "):
        status, _, err = cli(*create, "gpu:1")
        assert (status, err.startswith(f"{said}hyhive/")) == (0, True)
        assert err.endswith(f" for {uuid}\n")
    delete = f"'gpu-passthrough allocation delete {uuid}'"
    for call in ((*create, "gpu:2"), ("unit", "quarantine", CARDS[0])):
        status, _, err = cli(*call)
        assert (status, delete in err) == (1, True)


def test_the_nil_uuid_is_no_consumer(cli: Cli) -> None:
    nil = "00000000-0000-0000-0000-000000000000"
    create = ("allocation", "create", "--request", "gpu:1", "--consumer")
    for text in (nil, nil.replace("-", "")):
        status, out, err = cli(*create, text)
        assert (status, out, "nil UUID" in err) == (2, "", True)
    _, _, err = cli(*create, "x")
    assert "is not a UUID" in err and nil not in err


def test_an_option_that_nova_does_not_have_is_said_to_be_omitted(
    cli: Cli,
) -> None:
    call = ("--recording", recorded_tree.SEED, "nova", "config")
    words = ("--release", "30", "--one-time-use", "yes")
    _, _, err = cli(*call, *words, "--enabled-filters", "ComputFilter")
    assert "omitted: one_time_use in device_spec, which Nova 30" in err
    assert "warning: --enabled-filters: ComputFilter" in err
