# mypy: disable-error-code="import-not-found, unused-ignore"
"""The generated files, as Nova's and Placement's own options read them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import placement.conf.placement
import placement.conf.workarounds
from oslo_config import cfg

import nova.conf.pci
import nova.conf.scheduler
from gpu_passthrough_plugin.nova import render
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.control_plane import (
    DEFAULT_FILTERS,
    FlavorSize,
)
from gpu_passthrough_plugin.nova.options import NovaOptions

# Nova's functional hosts are small.
SMALL = FlavorSize(vcpus=1, ram_mib=64, disk_gib=1)

Options = Mapping[str, Any]


def compute(folder: Path, host: ComputeHost, options: NovaOptions) -> Options:
    """``[pci]`` of one host's nova-compute: what the file sets."""
    text = render.compute_file(host, options)
    return _read(folder, text, nova.conf.pci, "pci")


def aliases(
    folder: Path, hosts: Sequence[ComputeHost], options: NovaOptions
) -> Options:
    """``[pci]`` of nova-api."""
    text = render.alias_file(hosts, options)
    return _read(folder, text, nova.conf.pci, "pci")


def scheduler(
    folder: Path,
    options: NovaOptions,
    enabled: Iterable[str] = DEFAULT_FILTERS,
) -> Options:
    """``[filter_scheduler]``."""
    text = render.scheduler_file(options, tuple(enabled))
    return _read(folder, text, nova.conf.scheduler, "filter_scheduler")


def candidates(
    folder: Path, hosts: Sequence[ComputeHost], options: NovaOptions
) -> Mapping[str, Options]:
    """What Placement's file sets, by section."""
    text = render.placement_file(hosts, options)
    return {
        "placement": _read(
            folder, text, placement.conf.placement, "placement"
        ),
        "workarounds": _read(
            folder, text, placement.conf.workarounds, "workarounds"
        ),
    }


def flavors(
    hosts: Sequence[ComputeHost], options: NovaOptions
) -> Mapping[str, str]:
    """The ``pci_passthrough:alias`` of each flavor, by its name."""
    found = {}
    for line in render.flavors_file(hosts, options, SMALL).splitlines():
        words = shlex.split(line, comments=True)
        if words:
            key, _, value = words[words.index("--property") + 1].partition("=")
            assert key == "pci_passthrough:alias"
            found[words[-1]] = value
    return found


def _read(folder: Path, text: str, module: Any, group: str) -> Options:
    """What a file sets of a module's options; an odd line is an error."""
    path = folder / "generated.conf"
    path.write_text(text, encoding="utf-8")
    conf = cfg.ConfigOpts()
    # A module's own group would share what a test overrides in it.
    conf.register_group(cfg.OptGroup(group))
    module.register_opts(conf)
    conf([], default_config_files=[str(path)], default_config_dirs=[])
    at = {name: conf.get_location(name, group) for name in conf[group]}
    return {
        name: conf[group][name]
        for name, found in at.items()
        if found and found.location is cfg.Locations.user
    }
