"""What this package writes for a host has no fault on that host."""

from __future__ import annotations

import pytest

from gpu_passthrough_plugin.formats.nova_release import CYCLES, Release
from gpu_passthrough_plugin.model.finding import Status
from gpu_passthrough_plugin.nova import render
from gpu_passthrough_plugin.nova.lint import check, configuration
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions
from tests.trees.hosts import HOSTS
from tests.unit.nova.fleet import handed
from tests.unit.nova.lint.build import groups

CASES = [
    (Mode.PRIMARY, release) for release in CYCLES
] + [(Mode.FULL, release) for release in CYCLES if release > 26]  # fmt: skip


@pytest.mark.parametrize("name", HOSTS)
def test_what_is_generated_is_fine(name: str) -> None:
    described = HOSTS[name]()
    host, found = handed(described), groups(described)
    for mode, number in CASES:
        options = NovaOptions(
            Release(number), mode, managed=True, live_migratable=False
        )
        files = (
            render.compute_file(host, options),
            render.alias_file([host], options),
            render.scheduler_file(options),
        )
        read = configuration.read([("nova.conf", f.encode()) for f in files])
        faults = [
            f
            for f in check.findings(read, found, options.release)
            if f.status is not Status.PASS
        ]
        if not read.device_spec:
            assert not host.units
            continue
        assert faults == [], (mode, number)
