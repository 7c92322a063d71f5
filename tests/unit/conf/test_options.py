"""What each option takes, and what it says of anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import conf, errors


def fault(tmp_path: Path, group: str, line: str) -> str:
    """The only fault of a file with one line in one group."""
    path = tmp_path / "test.conf"
    path.write_text(f"[{group}]\n{line}\n", encoding="utf-8")
    with pytest.raises(errors.Faults) as caught:
        conf.load([str(path)])
    (only,) = caught.value.faults
    assert only.startswith(f"{path}: ")
    return only.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("group", "line", "wanted"),
    [
        ("DEFAULT", "host = a/b", "wanted a name of 1 to 255 characters"),
        ("DEFAULT", "host =", "wanted a name of 1 to 255 characters"),
        ("DEFAULT", f"host = {'a' * 256}", "wanted a name of 1 to 255"),
        ("DEFAULT", "state_path = var/lib", "wanted an absolute path"),
        ("DEFAULT", "state_path = /$var", "wanted $$ wherever a plain $"),
        ("discovery", "select = 0x10de:*", "VENDOR:PRODUCT"),
        ("discovery", "exclude = 10de", "VENDOR:PRODUCT"),
        ("discovery", "pci_ids = pci.ids", "wanted an absolute path"),
        ("database", "connection = ledger.sqlite", "wanted DIALECT[+DRIVER]"),
        ("database", "connection = oracle://db", "wanted DIALECT[+DRIVER]"),
        ("database", "connection = sqlite://", "four slashes"),
        ("database", "connection = sqlite:///a.sqlite", "four slashes"),
        ("database", "connection = sqlite:///:memory:", "four slashes"),
        ("coordination", "backend_url = /locks", "wanted a URL"),
        ("coordination", "backend_url = file://locks", "wanted file:///PATH"),
        ("coordination", "backend_url = zoo://z", "zookeeper"),
        ("coordination", "timeout_s = 3601", "an integer from 1 to 3600"),
        ("coordination", "timeout_s = 1.5", "an integer from 1 to 3600"),
        ("coordination", "timeout_s =", "an integer from 1 to 3600"),
        ("libvirt", "connection_uri = qemu", "wanted a libvirt URI"),
        ("libvirt", "stop_timeout_s = -1", "an integer from 0 to 3600"),
        ("release", "reset_timeout_s = 601", "an integer from 1 to 600"),
        ("hook", "mode = half", "wanted one of: any, full, primary"),
        ("hook", "mode =", "wanted one of: any, full, primary"),
        ("hook", "wait_s = 601", "an integer from 0 to 600"),
        ("release", "restore_drivers = 2", "wanted true or false"),
        ("allocation", "driver = placment", "wanted one of: "),
        ("allocation", "weight = tight", "wanted one of: pack, spread"),
        ("allocation", f"aggregates = {'a' * 256}", "wanted names of 1 to"),
        ("allocation", "aggregates = a\tb", "that can be printed"),
        ("allocation", "traits = 10de:*=GOLD", "standard trait such as"),
        ("allocation", "traits = 10de:*=", "wanted a trait"),
        ("allocation", "traits = 10de=CUSTOM_A", "wanted SELECTOR=TRAIT"),
        ("allocation", "traits = CUSTOM_A", "wanted SELECTOR=TRAIT"),
    ],
)
def test_refuses(tmp_path: Path, group: str, line: str, wanted: str) -> None:
    name, _, value = line.partition(" =")
    found = fault(tmp_path, group, line)
    head, _, tail = found.partition("; ")
    assert wanted in tail
    shown = value.strip().split(", ")[0]
    assert head == f"[{group}] {name} is {shown!r}"


@pytest.mark.parametrize(
    ("group", "line"),
    [
        ("DEFAULT", "host = compute-1.example.org"),
        ("discovery", "select = 10de:*, class=0302, 0000:06:00.*"),
        ("database", "connection = sqlite:////srv/a.sqlite"),
        ("database", "connection = sqlite:///file:/srv/a?uri=true"),
        ("database", "connection = mysql+pymysql://me:pa$$word@db/a"),
        ("database", "connection = mariadb+pymysql://db/a"),
        ("database", "sql_max_retries = 3"),
        ("coordination", "backend_url = redis://r:6379"),
        ("coordination", "backend_url = file:///srv/locks"),
        ("libvirt", "connection_uri = test:///srv/host.xml"),
        ("hook", "mode = primary"),
        ("pci", "report_in_placement = true"),
        ("release", "restore-drivers = false"),
        ("allocation", "weight = spread"),
        ("allocation", "aggregates = rack 1, rack 2"),
        ("allocation", "aggregates ="),
        ("allocation", "traits = class=0302=CUSTOM_A, HW_NIC_SRIOV"),
    ],
)
def test_takes(tmp_path: Path, group: str, line: str) -> None:
    path = tmp_path / "test.conf"
    path.write_text(f"[{group}]\n{line}\n", encoding="utf-8")
    conf.load([str(path)])


@pytest.mark.parametrize(
    ("group", "line", "found"),
    [
        ("discovery", "selct = 10de:*", "[discovery] selct is no option;"),
        ("disovery", "select = x", "[disovery] is no group; wanted"),
        ("default", "host = a", "[default] is no group; wanted [DEFAULT]"),
        ("DEFAULT", "debug = true", "[DEFAULT] debug is no option; wanted"),
    ],
)
def test_names_that_are_misspelt(
    tmp_path: Path, group: str, line: str, found: str
) -> None:
    assert fault(tmp_path, group, line).startswith(found)


@pytest.mark.parametrize(
    "line",
    [
        "connection = mysq://me:secret@db/a",
        "connection = mysq://me:sec/r@et@db/a",
        "connection = sqlite://?password=secret",
    ],
)
def test_credentials_are_not_in_a_fault(tmp_path: Path, line: str) -> None:
    found = fault(tmp_path, "database", line)
    assert "***" in found
    assert "secret" not in found
    assert "r@et" not in found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"host = a\n", "line 1 is no part of a configuration"),
        (b"[DEFAULT\n", "line 1 is no part of a configuration"),
        (b"[DEFAULT]\nhost\n", "line 2 is no part of a configuration"),
        (b"[DEFAULT]\nhost = \xff\xfe\n", "is no text"),
    ],
)
def test_a_file_that_is_none(
    tmp_path: Path, content: bytes, found: str
) -> None:
    path = tmp_path / "test.conf"
    path.write_bytes(content)
    with pytest.raises(errors.Faults) as caught:
        conf.load([str(path)])
    (only,) = caught.value.faults
    assert only.startswith(f"{path}: {found}")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(errors.Faults, match="Is a directory"):
        conf.load([str(tmp_path)])
