"""What is wrong is said in one line, and nothing is changed."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin.discovery import recorded_tree

_COMMAND = (
    sys.executable,
    "-c",
    "import sys; from gpu_passthrough_plugin.cli.main import main;"
    " sys.exit(main())",
)
_DOMAIN = "<domain type='test'><name>a</name><devices/></domain>"
_CONFIG = """\
[DEFAULT]
host = here
state_path = {state}
[pci]
alias = {{"name": "gpu", "vendor_id": "10de"}}
[libvirt]
connection_uri = qemu+unix:///system?socket=/nonexistent
[coordination]
timeout_s = 2
"""

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def cli(tmp_path: Path, state: Path) -> Cli:
    config = tmp_path / "gpu-passthrough.conf"
    config.write_text(_CONFIG.format(state=state))

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (*_COMMAND, "--config-file", str(config), *argv),
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture
def ledger(cli: Cli, state: Path) -> Path:
    assert cli("db", "sync").returncode == 0
    return state / "ledger.sqlite"


def complaint(
    done: subprocess.CompletedProcess[str], status: int, lines: int = 1
) -> str:
    """The one line that a failed command wrote, and all that it wrote."""
    assert done.returncode == status, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == lines, done.stderr
    assert done.stderr.startswith("gpu-passthrough: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def tables(path: Path) -> list[str]:
    """Everything that a ledger holds."""
    with sqlite3.connect(path) as database:
        return list(database.iterdump())


@pytest.mark.parametrize(
    "argv", [("group", "list"), ("device", "list"), ("topology",)]
)
def test_a_tree_without_pci(
    cli: Cli, tmp_path: Path, argv: tuple[str, ...]
) -> None:
    said = complaint(cli("--root", str(tmp_path), *argv), 2)
    assert "sys/bus/pci" in said


def test_a_root_that_is_not_there(cli: Cli, tmp_path: Path) -> None:
    root = str(tmp_path / "none")
    assert root in complaint(cli("--root", root, "group", "list"), 2)


@pytest.mark.parametrize("share", [0.1, 0.37, 0.5, 0.83, 0.99])
def test_a_recording_cut_in_half(
    cli: Cli, tmp_path: Path, share: float
) -> None:
    whole = Path(recorded_tree.SEED).read_bytes()
    half = tmp_path / "half.umockdev"
    half.write_bytes(whole[: int(len(whole) * share)])
    done = cli("--recording", str(half), "group", "list")
    assert done.returncode == 2
    assert str(half) in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("content", [b"", b"PNG\0\xff", b"<domain/>"])
def test_what_is_no_recording(
    cli: Cli, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "odd"
    path.write_bytes(content)
    said = cli("--recording", str(path), "group", "list")
    assert said.returncode == 2
    assert str(path) in said.stderr


def test_a_host_elsewhere_is_not_changed(cli: Cli, ledger: Path) -> None:
    for argv in (
        ("inventory", "sync"),
        ("instance", "release", str(uuid.uuid4())),
    ):
        for option in ("--recording", recorded_tree.SEED), ("--root", "/usr"):
            said = complaint(cli(*option, *argv), 2)
            assert f"{' '.join(option)} is read-only" in said


def test_all_faults_of_a_configuration(cli: Cli, tmp_path: Path) -> None:
    config = tmp_path / "odd.conf"
    config.write_text(
        "[allocation]\ndriver = abacus\n"
        "[pci]\nalias = {gpu}\n"
        '[database]\nconnection = "floppy:a"\n'
        "[coordination]\ntimeout_s = 0\n"
    )
    done = cli("--config-file", str(config), "group", "list")
    said = complaint(done, 2, lines=4)
    for word in ("abacus", "{gpu}", "connection", "timeout_s"):
        assert word in said


@pytest.mark.parametrize(
    ("request_text", "word"),
    [
        ("tpu:1", "configured: gpu"),
        ("gpu:0", "1 to 9999"),
        ("gpu:-1", "1 to 9999"),
        ("gpu", "ALIAS:COUNT"),
        ("", "--request is empty"),
        ("gpu:1,gpu:2", "twice"),
        ("gpu:99999999999999999999", "1 to 9999"),
    ],
)
def test_a_request_that_is_none(
    cli: Cli, ledger: Path, request_text: str, word: str
) -> None:
    before = tables(ledger)
    for verb in (("candidate", "list"), ("allocation", "create")):
        said = complaint(cli(*verb, "--request", request_text), 2)
        assert word in said
    assert tables(ledger) == before


@pytest.mark.parametrize(
    "xml",
    [
        "",
        "hello",
        "<domain",
        "<network/>",
        "<domain/>",
        "<domain><name>a</name><uuid>7</uuid></domain>",
    ],
)
def test_a_domain_that_is_none(
    cli: Cli, ledger: Path, tmp_path: Path, xml: str
) -> None:
    path = tmp_path / "domain.xml"
    path.write_text(xml)
    before = tables(ledger)
    said = complaint(
        cli("instance", "boot", str(path), "--request", "gpu:1"), 2
    )
    assert "domain.xml: " in said
    assert tables(ledger) == before


def test_no_libvirt(cli: Cli, ledger: Path, tmp_path: Path) -> None:
    path = tmp_path / "domain.xml"
    path.write_text(_DOMAIN)
    before = tables(ledger)
    said = complaint(
        cli("instance", "boot", str(path), "--request", "gpu:1"), 2
    )
    assert "libvirt does not answer" in said
    assert tables(ledger) == before
    assert not list(tmp_path.glob("state/instances/*"))


@pytest.mark.parametrize(
    "verb",
    [
        ("allocation", "show"),
        ("allocation", "delete"),
        ("instance", "release"),
    ],
)
def test_a_uuid_that_holds_nothing(
    cli: Cli, ledger: Path, verb: tuple[str, str]
) -> None:
    nobody = str(uuid.uuid4())
    assert nobody in complaint(cli(*verb, nobody), 1)
    # No libvirt is here, which could have it as the name of a guest.
    status = 1 if verb[1] == "show" else 2
    path = "../../etc/passwd"
    assert path in complaint(cli(*verb, path), status)


@pytest.mark.parametrize("verb", [("inventory", "list"), ("unit", "list")])
def test_a_ledger_that_was_never_made(
    cli: Cli, state: Path, verb: tuple[str, str]
) -> None:
    assert "db sync" in complaint(cli(*verb), 2)
    assert not (state / "ledger.sqlite").exists()


def test_a_corrupt_ledger(cli: Cli, ledger: Path) -> None:
    ledger.write_bytes(b"not a database, and longer than a header" * 100)
    before = ledger.read_bytes()
    for verb in (("inventory", "list"), ("db", "sync")):
        assert str(ledger) in complaint(cli(*verb), 2)
    assert ledger.read_bytes() == before


def test_a_newer_ledger(cli: Cli, ledger: Path) -> None:
    with sqlite3.connect(ledger) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    for verb in (("inventory", "list"), ("db", "sync")):
        assert re.search("9999|newer", complaint(cli(*verb), 2))


def test_a_state_path_that_is_a_file(cli: Cli, state: Path) -> None:
    state.write_text("")
    complaint(cli("db", "sync"), 2)


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_state_path_that_others_can_write_to(
    cli: Cli, state: Path, mode: int
) -> None:
    state.mkdir()
    state.chmod(mode)
    for verb in (
        ("db", "sync"),
        ("inventory", "list"),
        ("inventory", "sync"),
        ("host", "enable"),
        ("host", "disable"),
        ("host", "verify"),
    ):
        line = complaint(cli(*verb), 2)
        assert str(state) in line and f"{mode:o}" in line
    assert not list(state.iterdir())


def test_an_address_that_is_none(cli: Cli, ledger: Path) -> None:
    assert "not a PCI address" in complaint(
        cli("--recording", recorded_tree.SEED, "device", "show", "6"), 2
    )
    assert "device list" in complaint(
        cli("--recording", recorded_tree.SEED, "device", "show", "00:1e.7"), 1
    )
