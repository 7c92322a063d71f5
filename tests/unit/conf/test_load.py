"""Files become settings, or one error that names everything wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin import conf, errors
from gpu_passthrough_plugin.conf.allocation import Allocation
from gpu_passthrough_plugin.model.allocation import Weight
from gpu_passthrough_plugin.model.request import NumaPolicy
from tests.golden import assert_golden

Written = Callable[..., str]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Writes a configuration file and returns its path."""

    def write(text: str, name: str = "test.conf") -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def faults(*files: str) -> tuple[str, ...]:
    with pytest.raises(errors.Faults) as caught:
        conf.load(files)
    return caught.value.faults


def test_an_empty_file_is_the_defaults(written: Written) -> None:
    settings = conf.load([written("")])
    assert settings.host
    assert settings.state_path == "/var/lib/gpu-passthrough"
    assert [s.text for s in settings.discovery.select] == [
        "class=03*",
        "class=12*",
    ]
    assert settings.discovery.exclude == ()
    assert settings.discovery.pci_ids == "/usr/share/misc/pci.ids"
    assert settings.pci.aliases == {}
    assert settings.allocation == Allocation(
        "sql", Weight.PACK, frozenset(), ()
    )
    assert settings.database.connection == (
        "sqlite:////var/lib/gpu-passthrough/ledger.sqlite"
    )
    assert settings.database.options == {}
    assert settings.coordination.backend_url == (
        "file:///var/lib/gpu-passthrough/locks"
    )
    assert settings.coordination.timeout_s == 60
    assert settings.libvirt.connection_uri == "qemu:///system"
    assert settings.libvirt.stop_timeout_s == 60
    assert settings.release.restore_drivers is True
    assert settings.release.reset_timeout_s == 60


WHOLE = """
[DEFAULT]
host = compute-7
state_path = /srv/state
[discovery]
select = 10de:1430, class=0302
exclude = 0000:0a:03.0
pci_ids = /srv/pci.ids
[pci]
alias = {"name": "gpu", "vendor_id": "10de", "numa_policy": "required"}
alias = {"name": "nic", "vendor_id": "15b3", "device_type": "type-PF"}
# Nova's own, which one file for both may hold.
device_spec = {"vendor_id": "10de"}
[allocation]
driver = sql
weight = spread
aggregates = rack-1, blue
traits = 10de:1430=CUSTOM_GOLD
traits = class=0302 = CUSTOM_A,HW_GPU_API_VULKAN
[database]
connection = postgresql+psycopg://me:secret@db/ledger
max_retries = -1
[coordination]
backend_url = etcd3+http://me:secret@etcd:2379
timeout_s = 5
[libvirt]
connection_uri = qemu+unix:///system
stop_timeout_s = 0
[release]
restore_drivers = no
reset_timeout_s = 10
[a_driver_of_somebody_else]
anything = goes
"""


def test_every_option_is_read(written: Written) -> None:
    settings = conf.load([written(WHOLE)])
    assert settings.host == "compute-7"
    assert settings.state_path == "/srv/state"
    assert [s.text for s in settings.discovery.select] == [
        "10de:1430",
        "class=0302",
    ]
    assert [s.text for s in settings.discovery.exclude] == ["0000:0a:03.0"]
    assert settings.discovery.pci_ids == "/srv/pci.ids"
    assert sorted(settings.pci.aliases) == ["gpu", "nic"]
    assert settings.pci.aliases["gpu"].numa_policy is NumaPolicy.REQUIRED
    assert settings.allocation.weight is Weight.SPREAD
    assert settings.allocation.aggregates == {"rack-1", "blue"}
    given = settings.allocation.traits
    assert [(g.selector.text, *sorted(g.traits)) for g in given] == [
        ("10de:1430", "CUSTOM_GOLD"),
        ("class=0302", "CUSTOM_A", "HW_GPU_API_VULKAN"),
    ]
    assert settings.database.connection.endswith("@db/ledger")
    assert settings.database.options == {"max_retries": -1}
    assert settings.coordination.backend_url.endswith("@etcd:2379")
    assert settings.coordination.timeout_s == 5
    assert settings.libvirt.connection_uri == "qemu+unix:///system"
    assert settings.libvirt.stop_timeout_s == 0
    assert settings.release.restore_drivers is False
    assert settings.release.reset_timeout_s == 10


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("[database]\nconection = mysql+pymysql://u:p@db/l", "connection?"),
        ("[database]\nmax-retrys = 3", "max_retries?"),
        ("[database]\nzzz = 3", "expected one of: "),
        ("[pci]\naliass = {}", "alias?"),
        ("[pci]\ndevice_specs = {}", "device_spec?"),
        ("[placement]\nusrname = x", "username?"),
    ],
)
def test_a_misspelt_option_of_a_shared_group_is_reported(
    written: Written, text: str, data: str
) -> None:
    path = written(text)
    group, _, line = text.partition("\n")
    name = line.partition(" ")[0].replace("-", "_")
    (fault,) = faults(written("", "other.conf"), path)
    assert fault.startswith(f"{path}: {group} {name} ")
    assert data in fault
    assert "u:p" not in fault


@pytest.mark.parametrize(
    "text",
    [
        "[database]\nslave_connection = mysql+pymysql://db/l",
        "[database]\nuse-db-reconnect = true",
        "[pci]\npassthrough_whitelist = {}",
        "[pci]\nreport_in_placement = true",
        # What a later release of Nova may have.
        "[pci]\nzzz = 1",
    ],
)
def test_other_programs_options_of_a_shared_group(
    written: Written, text: str
) -> None:
    conf.load([written(text)])


def test_no_credentials_are_shown(written: Written) -> None:
    assert "secret" not in repr(conf.load([written(WHOLE)]))


def test_state_path_moves_what_is_kept_below_it(written: Written) -> None:
    settings = conf.load([written("[DEFAULT]\nstate_path = /srv")])
    assert settings.database.connection == "sqlite:////srv/ledger.sqlite"
    assert settings.coordination.backend_url == "file:///srv/locks"


def test_a_later_file_overrides_and_adds_aliases(written: Written) -> None:
    first = written(
        '[DEFAULT]\nhost = a\n[pci]\nalias = {"name": "x"}', "a.conf"
    )
    second = written(
        '[DEFAULT]\nhost = b\n[pci]\nalias = {"name": "y"}', "b.conf"
    )
    settings = conf.load([first, second])
    assert settings.host == "b"
    assert sorted(settings.pci.aliases) == ["x", "y"]


def test_nothing_may_be_selected(written: Written) -> None:
    assert conf.load([written("[discovery]\nselect =")]).discovery.select == ()


def test_the_environment_changes_nothing(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_DISCOVERY__SELECT", "10de:*")
    selected = conf.load([written("")]).discovery.select
    assert [s.text for s in selected] == ["class=03*", "class=12*"]


def test_without_a_file_the_default_file_counts(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written("[DEFAULT]\nhost = from-etc")
    monkeypatch.setattr(conf, "DEFAULT_FILE", path)
    assert conf.load().host == "from-etc"
    monkeypatch.setattr(conf, "DEFAULT_FILE", path + ".missing")
    assert conf.load().host != "from-etc"


def test_every_fault_is_reported_at_once(written: Written) -> None:
    path = written(
        """
[DEFAULT]
host = a b
[discovery]
select = class=03*, nvidia
exlude = 10de:*
[pci]
alias = {"name":
alias = {"name": "gpu", "vendor_id": "0x10de"}
[allocation]
driver = sqll
weight = heavy
aggregates = a\tb
traits = 10de=GOLD,CUSTOM_a
[database]
connection = mysq://db/ledger
max_retries = many
[coordination]
backend_url = ectd://etcd:2379
timeout_s = 0
[libvirt]
stop_timeout_s = 3601
[release]
restore_drivers = perhaps
"""
    )
    lines = faults(path, f"{path}.missing")
    assert not any("\n" in line for line in lines)
    text = "\n".join(lines).replace(path, "PATH")
    # Drivers of other packages may be installed as well.
    text = re.sub(r"(?<=one of: )(\w|[,+ ])*; or", "DRIVERS; or", text)
    golden = Path(__file__).with_name("messages.txt")
    assert_golden(golden, f"{text}\n")


def test_loading_imports_nothing_heavy() -> None:
    source = (
        "import sys\n"
        "from gpu_passthrough_plugin import conf\n"
        "conf.load(['/dev/null'])\n"
        "print(*{'sqlalchemy', 'alembic', 'oslo_db', 'tooz', 'libvirt',"
        " 'lxml'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], check=True, capture_output=True
    )
    assert done.stdout == b"\n"
