"""``nova config`` and ``nova check``, as an operator calls them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gpu_passthrough_plugin.allocation.driver import LedgerSettings
from gpu_passthrough_plugin.allocation.sql.ledger import SqlLedger
from gpu_passthrough_plugin.discovery import recorded_tree
from gpu_passthrough_plugin.flow import host_snapshot
from gpu_passthrough_plugin.isolation.partition import Policy
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.unit import State
from tests.trees import recordings

_COMMAND = (
    sys.executable,
    "-c",
    "import sys; from gpu_passthrough_plugin.cli.main import main;"
    " sys.exit(main())",
)
GPUS = Policy((selector.parse("class=03*"),))
SEED = ("--recording", recorded_tree.SEED)
FILES = [
    "gpu-compute.conf", "gpu-alias.conf", "gpu-scheduler.conf",
    "gpu-placement.conf", "gpu-flavors.sh",
]  # fmt: skip
CONFS = FILES[:4]
CASES = [
    ("primary", "26"), ("primary", "29"), ("primary", "31"),
    ("primary", "34"), ("full", "29"), ("full", "31"), ("full", "34"),
]  # fmt: skip
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command; its ledger is the test's own."""
    config = tmp_path / "gpu-passthrough.conf"
    config.write_text(f"[DEFAULT]\nhost = here\nstate_path = {tmp_path}\n")

    def run(*argv: str, text: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            (*_COMMAND, "--config-file", str(config), *argv),
            capture_output=True,
            text=True,
            input=text,
        )
        # Which release is assumed where none is named.
        done.stderr = re.sub("^release: .*--release\n", "", done.stderr)
        return done

    return run


def asked(cli: Cli, *argv: str, status: int = 0) -> Any:
    """What a command printed as JSON."""
    done = cli(*argv, "-f", "json")
    assert (done.returncode, done.stderr) == (status, "")
    return json.loads(done.stdout)


def complaint(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line that a failed command wrote, and all that it wrote."""
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("gpu-passthrough: ")
    return done.stderr


def names(folder: Path, which: Sequence[str]) -> list[str]:
    return [str(folder / name) for name in which]


@pytest.mark.parametrize(
    "name",
    ["seed", "amd", "four-functions", "shared-group", "virtual-functions"],
)
def test_what_is_written_passes_the_check(
    cli: Cli, tmp_path: Path, name: str
) -> None:
    host = ("--recording", str(recordings.path(name)))
    folder = tmp_path / "nova"
    for mode, release in CASES:
        call = ("config", "--mode", mode, "--release", release)
        rows = asked(cli, *host, "nova", *call, "-o", str(folder))
        assert [row["File"] for row in rows] == names(folder, FILES)
        assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
        confs = names(folder, CONFS)
        found = asked(
            cli, *host, "nova", "check", "--release", release, *confs
        )
        assert {row["Status"] for row in found} == {"pass"}, (mode, release)
        assert {"groups", "alias matches"} <= {row["Check"] for row in found}


def test_each_part_is_printed_below_where_it_goes(cli: Cli) -> None:
    done = cli(*SEED, "nova", "config")
    assert (done.returncode, done.stderr) == (0, "")
    heads = [ln for ln in done.stdout.splitlines() if ln.startswith("# ====")]
    assert heads == [
        "# ==== gpu-compute.conf: goes to /etc/nova/nova.conf.d/ of"
        " nova-compute on seed.umockdev",
        "# ==== gpu-alias.conf: goes to /etc/nova/nova.conf.d/ of nova-api"
        " and every nova-compute",
        "# ==== gpu-scheduler.conf: goes to /etc/nova/nova.conf.d/ of"
        " nova-scheduler, nova-api and nova-conductor",
        "# ==== gpu-placement.conf: goes to the end of"
        " /etc/placement/placement.conf",
        "# ==== gpu-flavors.sh: goes to a shell with an administrator's"
        " credentials",
    ]
    rows = asked(cli, *SEED, "nova", "config")
    assert [list(row) for row in rows] == [["File", "Goes To", "Contents"]] * 5
    assert [row["File"] for row in rows] == FILES
    assert done.stdout == "\n".join(
        f"{head}\n{row['Contents']}"
        for head, row in zip(heads, rows, strict=True)
    )


def test_the_seeds_three_cards(cli: Cli) -> None:
    compute = asked(cli, *SEED, "nova", "config", "--host", "hyhive")[0]
    specs = [
        json.loads(line.partition(" = ")[2])
        for line in compute["Contents"].splitlines()
        if line.startswith("device_spec = ")
    ]
    cards = ["0000:06:00.0", "0000:82:00.0", "0000:83:00.0"]
    assert [spec["address"] for spec in specs] == cards
    assert compute["Contents"].startswith("# For nova-compute on hyhive,")
    # The console's card is mentioned, and not listed.
    assert "# Not listed: 0000:0a:03.0" in compute["Contents"]


def test_the_commands_for_flavors_are_a_shells(
    cli: Cli, tmp_path: Path
) -> None:
    assert cli(*SEED, "nova", "config", "-o", str(tmp_path)).returncode == 0
    script = tmp_path / "gpu-flavors.sh"
    said = tmp_path / "said"
    tool = tmp_path / "openstack"
    tool.write_text(f'#!/bin/sh\necho "$*" >> {said}\n')
    tool.chmod(0o755)
    subprocess.run([script], env={"PATH": f"{tmp_path}:/bin"}, check=True)
    (line,) = said.read_text().splitlines()
    assert line.startswith("flavor create --vcpus ")
    assert line.endswith("pci_passthrough:alias=gpu-10de-1430:1 gpu-10de-1430")


def test_files_are_kept_changed_or_refused(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    write = ("nova", "config", "-o", str(folder))

    def actions(*more: str) -> list[str]:
        rows = asked(cli, *SEED, *write, *more)
        assert [list(row) for row in rows] == [
            ["File", "Action", "Goes To"]
        ] * 5
        return [row["Action"] for row in rows]

    assert actions() == ["create"] * 5
    assert actions() == ["keep"] * 5
    full = ["change", "change", "change", "keep", "change"]
    assert actions("--mode", "full") == full
    edited = folder / "gpu-scheduler.conf"
    edited.write_text(edited.read_text() + "enabled_filters = Mine\n")
    was = {p.name: p.read_bytes() for p in folder.iterdir()}
    said = complaint(cli(*SEED, *write), 1)
    assert str(edited) in said
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == was
    edited.unlink()
    assert actions("--mode", "full") == [
        "keep",
        "keep",
        "create",
        "keep",
        "keep",
    ]


def test_a_folder_that_is_none(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for where in (file, file / "below"):
        said = complaint(cli(*SEED, "nova", "config", "-o", str(where)), 2)
        assert f"'{file}'" in said
    said = complaint(cli(*SEED, "nova", "config", "-o", "/proc/x"), 2)
    assert "/proc/x/gpu-compute.conf" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("dead-card", "'gpu-passthrough group list'"),
        ("firmware-off", "'gpu-passthrough group list'"),
        ("wide-domain", "'gpu-passthrough group list'"),
        ("microvm", "'gpu-passthrough device list'"),
    ],
)
def test_a_host_with_nothing_to_hand_out(
    cli: Cli, tmp_path: Path, name: str, said: str
) -> None:
    host = ("--recording", str(recordings.path(name)))
    folder = tmp_path / "nova"
    for more in ((), ("-o", str(folder))):
        assert said in complaint(cli(*host, "nova", "config", *more), 1)
    assert not folder.exists()


def test_what_a_release_cannot_do(cli: Cli) -> None:
    call = (*SEED, "nova", "config", "--release")
    said = complaint(cli(*call, "26", "--mode", "full"), 1)
    assert "use primary mode" in said
    said = complaint(cli(*call, "25"), 2)
    assert "26 to 34" in said


@pytest.fixture
def ledger(cli: Cli, tmp_path: Path) -> Path:
    """Two hosts: the seed's three cards, and one of a group of two."""
    path = tmp_path / "ledger.sqlite"
    made = SqlLedger(LedgerSettings(f"sqlite:///{path}"))
    made.sync()
    for host, name in (("c1", "seed"), ("c2", "shared-group")):
        tree = recorded_tree.load(str(recordings.path(name)))
        made.publish(
            host, host_snapshot.read(tree, GPUS).units(host), machine=host
        )
    made.close()
    return path


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(("mode", "release"), CASES[::2])
def test_one_control_plane_for_all_hosts(
    cli: Cli, tmp_path: Path, mode: str, release: str
) -> None:
    folder = tmp_path / "nova"
    call = ("nova", "config", "--from", "inventory", "-o", str(folder))
    asked(cli, *call, "--mode", mode, "--release", release)
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ["gpu-compute-c1.conf", "gpu-compute-c2.conf", *FILES[1:]]
    )
    for host, name in (("c1", "seed"), ("c2", "shared-group")):
        there = ("--recording", str(recordings.path(name)))
        files = names(folder, [f"gpu-compute-{host}.conf", *CONFS[1:]])
        check = ("nova", "check", "--release", release, *files)
        found = asked(cli, *there, *check)
        odd = [row for row in found if row["Status"] != "pass"]
        # What the other host's aliases are for is not here.
        assert all(row["Status"] == "warn" for row in odd), odd
        assert all(row["Check"] == "alias matches" for row in odd), odd


def test_a_quarantined_unit_is_left_out(cli: Cli, ledger: Path) -> None:
    write = (
        *("nova", "config", "--from", "inventory", "-f", "value"),
        *("--release", "34"),
    )
    assert ledger.exists()
    before = cli(*write)
    assert '"address": "0000:82:00.0"' in before.stdout
    assert before.stderr == ""
    made = SqlLedger(LedgerSettings(f"sqlite:///{ledger}"))
    (_, second, _) = made.records(host="c1")
    made.move(second, State.QUARANTINED, reason="loud fan")
    made.close()
    after = cli(*write)
    assert after.returncode == 0
    assert after.stderr == "skipped c1/0000:82:00.0: quarantined\n"
    assert '"address": "0000:82:00.0"' not in after.stdout


def test_a_ledger_that_is_empty_or_none(cli: Cli) -> None:
    call = ("nova", "config", "--from", "inventory")
    assert "db sync" in complaint(cli(*call), 2)
    assert cli("db", "sync").returncode == 0
    assert "inventory sync" in complaint(cli(*call), 1)


def test_what_is_wrong_has_a_place_and_a_remedy(
    cli: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "nova.conf"
    file.write_text(
        '[pci]\ndevice_spec = {"vendor_id": "10de"}\n'
        'alias = {"name": "a", "vendor_id": "10de", "product_id": "1430",'
        ' "device_type": "type-PF"}\n'
    )
    found = asked(cli, *SEED, "nova", "check", str(file), status=1)
    assert [list(row) for row in found] == [
        ["Check", "Status", "Where", "Detail", "Remedy", "Findings"]
    ] * len(found)
    wrong = [row for row in found if row["Status"] == "fail"]
    assert [(row["Check"], row["Where"]) for row in wrong] == [
        ("groups", f"{file}:2"),
        ("groups", f"{file}:2"),
        ("groups", f"{file}:2"),
        ("alias matches", f"{file}:3"),
    ]
    assert all(row["Remedy"] for row in wrong)
    assert not any(r["Remedy"] for r in found if r["Status"] == "pass")


def test_a_file_may_come_through_a_pipe(cli: Cli) -> None:
    text = '[pci]\ndevice_spec = {"address": "0000:0f:00.0"}\n'
    done = cli(*SEED, "nova", "check", "/dev/stdin", "-f", "json", text=text)
    # Only a warning: another host may need it.
    assert done.returncode == 0
    odd = [r for r in json.loads(done.stdout) if r["Status"] != "pass"]
    assert [(r["Status"], r["Where"]) for r in odd] == [
        ("warn", "/dev/stdin:2")
    ]


def test_files_that_are_none_are_told_together(
    cli: Cli, tmp_path: Path
) -> None:
    odd = {
        "latin.conf": b"[pci]\nalias = \xff\n",
        "broken.conf": b"[pci\nfoo\n",
        "huge.conf": b"#" * (1 << 20) + b"#",
    }
    for name, data in odd.items():
        (tmp_path / name).write_bytes(data)
    paths = names(tmp_path, [".", "none.conf", *odd])
    done = cli(*SEED, "nova", "check", "--release", "1", *paths)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert all(line.startswith("gpu-passthrough: ") for line in lines)
    for line, said in zip(
        lines,
        (
            "--release '1' ",
            f"{tmp_path}: ",
            f"{tmp_path}/none.conf: No such file or directory",
            f"{tmp_path}/latin.conf: byte 14 ",
            f"{tmp_path}/broken.conf:1: '[pci' ",
            f"{tmp_path}/broken.conf:2: 'foo' ",
            f"{tmp_path}/huge.conf: ",
        ),
        strict=True,
    ):
        assert said in line


def test_a_reader_that_has_enough(cli: Cli) -> None:
    """The text is not a table: it is printed by this command itself."""
    call = f"--recording {recorded_tree.SEED} nova config --release 34"
    line = f'"$0" -c "$1" {call} | true'
    done = subprocess.run(
        ("bash", "-o", "pipefail", "-c", line, *_COMMAND[::2]),
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 141)
    assert done.stderr == b""


def test_a_trait_of_hosts_is_in_a_file_of_its_own(
    cli: Cli, tmp_path: Path
) -> None:
    """Nova reads it from another folder than the rest."""
    folder = tmp_path / "made"
    config = (*SEED, "nova", "config", "-o", str(folder))
    trait = ("--host-trait", "CUSTOM_GPU_HOST")
    rows = asked(cli, *config, *trait)
    goes_to = {Path(row["File"]).name: row["Goes To"] for row in rows}
    provider = "gpu-provider.yaml"
    assert goes_to[provider].startswith("/etc/nova/provider_config/ of ")
    text = (folder / provider).read_text()
    assert text.endswith("additional:\n        - CUSTOM_GPU_HOST\n")
    flavors = (folder / "gpu-flavors.sh").read_text()
    assert "--property trait:CUSTOM_GPU_HOST=required " in flavors


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a link to another user")
def test_a_link_of_another_user_is_not_written_through(
    cli: Cli, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    link, target = folder / "gpu-flavors.sh", tmp_path / "target"
    link.symlink_to(target)
    for path in (folder, link):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    done = cli(*SEED, "nova", "config", "-o", str(folder))
    assert str(link) in complaint(done, 1)
    assert not target.exists()
    assert os.listdir(folder) == [link.name]
