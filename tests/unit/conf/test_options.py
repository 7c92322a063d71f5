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
    ("group", "line", "datum"),
    [
        ("DEFAULT", "host = a/b", "1 to 255 characters"),
        ("DEFAULT", "host =", "1 to 255 characters"),
        ("DEFAULT", f"host = {'a' * 256}", "1 to 255"),
        ("DEFAULT", "state_path = var/lib", "expected an absolute path"),
        ("DEFAULT", "state_path = /$var", "expected $$"),
        ("discovery", "select = 0x10dg:*", "VENDOR:PRODUCT"),
        ("discovery", "exclude = 10de", "VENDOR:PRODUCT"),
        ("discovery", "pci_ids = pci.ids", "expected an absolute path"),
        (
            "database",
            "connection = ledger.sqlite",
            "expected DIALECT[+DRIVER]",
        ),
        ("database", "connection = oracle://db", "expected DIALECT[+DRIVER]"),
        ("database", "connection = sqlite://", "four slashes"),
        ("database", "connection = sqlite:///a.sqlite", "four slashes"),
        ("database", "connection = sqlite:///:memory:", "four slashes"),
        ("coordination", "backend_url = /locks", "expected a URL"),
        (
            "coordination",
            "backend_url = file://locks",
            "expected file:///PATH",
        ),
        ("coordination", "backend_url = zoo://z", "zookeeper"),
        ("coordination", "timeout_s = 3601", "an integer from 1 to 3600"),
        ("coordination", "timeout_s = 1.5", "an integer from 1 to 3600"),
        ("coordination", "timeout_s =", "an integer from 1 to 3600"),
        ("libvirt", "connection_uri = qemu", "expected qemu:///system"),
        ("libvirt", "connection_uri = qemu:///session", "session's daemon"),
        ("libvirt", "connection_uri = qemu:///sys", "qemu:///system"),
        ("libvirt", "connection_uri = quemu:///system", "qemu:///system"),
        ("libvirt", "connection_uri = qemu+ssh://a/system", "this host's"),
        ("libvirt", "connection_uri = qemu+tcp:///system", "this host's"),
        ("libvirt", "connection_uri = xen:///system", "qemu:///system"),
        ("database", "connection = sqlite:////a$b.sqlite", "expected $$"),
        ("coordination", "backend_url = file:///a$b.c", "expected $$"),
        ("libvirt", "stop_timeout_s = -1", "an integer from 0 to 3600"),
        ("release", "reset_timeout_s = 601", "an integer from 1 to 600"),
        ("release", "sanitise_command = wipe x", "the path of a program"),
        ("release", "sanitise_command = /wipe 'x", "quotes"),
        ("hook", "mode = half", "expected one of: any, full, primary"),
        ("hook", "mode =", "expected one of: any, full, primary"),
        ("hook", "wait_s = 601", "an integer from 0 to 600"),
        ("agent", "metrics_address = 0.0.0.0:9835", "127.0.0.1:PORT"),
        ("agent", "metrics_address = 127.0.0.1", "127.0.0.1:PORT"),
        ("agent", "metrics_address = [::1]:65536", "127.0.0.1:PORT"),
        ("agent", "metrics_address = host:9835", "127.0.0.1:PORT"),
        ("agent", "metrics_address = unix:run/a.sock", "absolute path"),
        ("agent", "metrics_address = unix:/a.sock", "absolute path"),
        ("agent", "metrics_address = /run/a/a.sock", "unix:"),
        ("release", "restore_drivers = 2", "expected true or false"),
        ("allocation", "driver = placment", "expected one of: "),
        ("allocation", "weight = tight", "expected one of: pack, spread"),
        ("allocation", f"aggregates = {'a' * 256}", "expected names of 1 to"),
        ("allocation", "aggregates = a\tb", "printable"),
        ("allocation", "traits = 10de:*=GOLD", "standard trait such as"),
        ("allocation", "traits = 10de:*=", "expected a trait"),
        ("allocation", "traits = 10de=CUSTOM_A", "expected SELECTOR=TRAIT"),
        ("allocation", "traits = CUSTOM_A", "expected SELECTOR=TRAIT"),
    ],
)
def test_refuses(tmp_path: Path, group: str, line: str, datum: str) -> None:
    name, _, value = line.partition(" =")
    found = fault(tmp_path, group, line)
    head, _, tail = found.partition("; ")
    assert datum in tail
    shown = value.strip().split(", ")[0]
    if name == "connection" and "://" not in shown:
        # It may be a password.
        shown = "***"
    assert head == f"[{group}] {name} is {shown!r}"


@pytest.mark.parametrize(
    ("group", "line"),
    [
        ("database", "connection = mysql+pymysql://u:secr$t@db/l"),
        ("coordination", "backend_url = redis://:secr$t@db:6379"),
    ],
)
def test_a_dollar_in_a_password(tmp_path: Path, group: str, line: str) -> None:
    """One fault: what the option would have to be otherwise is no use."""
    found = fault(tmp_path, group, line)
    assert found.endswith("; expected $$ for each literal $")
    assert "secr" not in found


@pytest.mark.parametrize(
    ("group", "line"),
    [
        ("DEFAULT", "host = compute-1.example.org"),
        ("discovery", "select = 10de:*, class=0302, 0000:06:00.*"),
        ("database", "connection = sqlite:////srv/a.sqlite"),
        ("database", "connection = sqlite:///file:/srv/a?uri=true"),
        ("database", "connection = mysql+pymysql://me:pa$$word@db/a"),
        ("database", "connection = mariadb+pymysql://db/a"),
        ("database", "max_retries = 3"),
        ("coordination", "backend_url = redis://r:6379"),
        ("coordination", "backend_url = file:///srv/locks"),
        ("libvirt", "connection_uri = test:///srv/host.xml"),
        ("libvirt", "connection_uri = qemu:///system"),
        ("libvirt", "connection_uri = qemu:///system?socket=/srv/s"),
        ("libvirt", "connection_uri = qemu+unix:///system?socket=/srv/s"),
        ("discovery", "select = 0x10de:0x1430, 0000:06:00, 07:00"),
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
        ("discovery", "selct = 10de:*", "[discovery] selct .*select"),
        ("disovery", "select = x", "[disovery] .*[discovery]"),
        ("default", "host = a", "[default] .*[DEFAULT]"),
        ("DEFAULT", "debug = true", "[DEFAULT] debug .*state_path"),
    ],
)
def test_names_that_are_misspelt(
    tmp_path: Path, group: str, line: str, found: str
) -> None:
    name, _, near = found.partition(" .*")
    text = fault(tmp_path, group, line)
    assert text.startswith(name) and near in text


@pytest.mark.parametrize(
    ("group", "line", "expected"),
    [
        ("discovery", "unisolated = maybe", "one of: refuse, warn"),
        ("database", "max_retries = many", "an integer"),
        ("database", "use_db_reconnect = perhaps", "true or false"),
        ("placement", "connect_retry_delay = soon", "a number"),
        (
            "placement",
            "retriable_status_codes = 503, never",
            "integers, separated by commas",
        ),
    ],
)
def test_what_was_expected_is_in_words(
    tmp_path: Path, group: str, line: str, expected: str
) -> None:
    assert fault(tmp_path, group, line).endswith(f"; expected {expected}")


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
    assert "secret" not in found
    assert "r@et" not in found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"host = a\n", "line 1 "),
        (b"[DEFAULT\n", "line 1 "),
        (b"[DEFAULT]\nhost\n", "line 2 "),
        (b"[DEFAULT]\nhost = \xff\xfe\n", "not UTF-8"),
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


@pytest.mark.parametrize(
    ("group", "name"),
    [("discovery", "exclude"), ("discovery", "select"),
     ("enablement", "blacklist")],
)  # fmt: skip
def test_a_list_in_two_lines_would_lose_the_first(
    tmp_path: Path, group: str, name: str
) -> None:
    value = "nouveau" if name == "blacklist" else "0000:06:00.0"
    text = fault(tmp_path, group, f"{name} = {value}\n{name} =")
    assert text.startswith(f"[{group}] {name} is set 2 times")
