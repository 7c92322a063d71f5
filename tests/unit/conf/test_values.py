"""Each group of options becomes one value with everything that it sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import conf, errors
from gpu_passthrough_plugin.conf import default
from gpu_passthrough_plugin.conf.coordination import Coordination
from gpu_passthrough_plugin.conf.database import Database
from gpu_passthrough_plugin.conf.discovery import Discovery
from gpu_passthrough_plugin.conf.enablement import Enablement
from gpu_passthrough_plugin.conf.guests import Agent, Hook, Libvirt
from gpu_passthrough_plugin.conf.pci import Pci
from gpu_passthrough_plugin.conf.placement import Placement
from gpu_passthrough_plugin.conf.release import Release
from gpu_passthrough_plugin.model import selector
from gpu_passthrough_plugin.model.hook import HookMode
from gpu_passthrough_plugin.model.metric import MetricsAddress
from gpu_passthrough_plugin.model.sanitising import SanitiseSettings


def loaded(folder: Path, text: str) -> conf.Settings:
    path = folder / "test.conf"
    path.write_text(text, encoding="utf-8")
    return conf.load([str(path)])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "[discovery]\nselect = 10de:*, class=0302\nexclude = 06:00.0\n"
            "pci_ids = /srv/pci.ids\nunisolated = refuse",
            Discovery(
                (selector.parse("10de:*"), selector.parse("class=0302")),
                True,
                (selector.parse("06:00.0"),),
                "/srv/pci.ids",
                refuses_unisolated=True,
            ),
        ),
        (
            "[enablement]\niommu = intel\nbinding = ids\nblacklist = nouveau\n"
            "iommu_passthrough = true\nallow_unsafe_interrupts = true",
            Enablement("intel", None, None, "ids", True, True, ("nouveau",)),
        ),
        (
            "[database]\nconnection = mysql+pymysql://db/l\nmax_retries = 3",
            Database("mysql+pymysql://db/l", {"max_retries": 3}),
        ),
        (
            "[coordination]\nbackend_url = file:///srv/locks\ntimeout_s = 5",
            Coordination("file:///srv/locks", 5),
        ),
        (
            "[libvirt]\nconnection_uri = test:///default\nstop_timeout_s = 0",
            Libvirt("test:///default", 0),
        ),
        ("[hook]\nmode = primary\nwait_s = 1", Hook(HookMode.PRIMARY, 1)),
        (
            "[agent]\ninterval_s = 5\ncanary = yes\n"
            "metrics_address = unix:/run/gpu-passthrough/metrics.sock",
            Agent(
                5,
                canary=True,
                metrics_address=MetricsAddress(
                    "/run/gpu-passthrough/metrics.sock"
                ),
            ),
        ),
        (
            "[agent]\nmetrics_address = [::1]:9835",
            Agent(60, metrics_address=MetricsAddress("", "::1", 9835)),
        ),
        (
            "[release]\ncheck_health = no\ncorrectable_errors = 7",
            Release(
                True,
                60,
                120,
                "",
                SanitiseSettings(),
                check_health=False,
                correctable_errors=7,
            ),
        ),
        (
            "[release]\nrestore_drivers = false\nreset_timeout_s = 600",
            Release(False, 600, 120, "", SanitiseSettings()),
        ),
        (
            "[release]\nsanitise_command = /bin/wipe 'a b' -c",
            Release(
                True,
                60,
                120,
                "",
                SanitiseSettings(("/bin/wipe", "a b", "-c"), 300),
            ),
        ),
        ("[pci]\n", Pci({})),
        ("[placement]\n", Placement({})),
    ],
)
def test_a_group(tmp_path: Path, text: str, value: object) -> None:
    group = text.partition("]")[0].removeprefix("[")
    assert getattr(loaded(tmp_path, text), group) == value


def test_this_host(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "[DEFAULT]\nhost = n-1\nstate_path = /srv")
    assert (settings.host, settings.state_path) == ("n-1", "/srv")
    empty = loaded(tmp_path, "")
    assert empty.host == default.HOST.default
    assert empty.state_path == default.STATE_PATH.default


def test_each_module_that_cannot_be_blacklisted_is_named(
    tmp_path: Path,
) -> None:
    with pytest.raises(errors.Faults) as caught:
        loaded(
            tmp_path,
            "[enablement]\nblacklist = nouveau, vfio-pci, a b, iommufd",
        )
    names = [
        fault.partition("blacklist is ")[2].partition(";")[0]
        for fault in caught.value.faults
    ]
    assert names == ["'vfio-pci'", "'a b'", "'iommufd'"]


@pytest.mark.parametrize("option", ["iommu", "bootloader", "initramfs"])
def test_the_default_is_among_the_expected_drivers(
    tmp_path: Path, option: str
) -> None:
    with pytest.raises(errors.Faults) as caught:
        loaded(tmp_path, f"[enablement]\n{option} = nosuch\n")
    (fault,) = caught.value.faults
    names = fault.partition("one of: ")[2].partition(";")[0].split(", ")
    assert "auto" in names and names == sorted(names)
