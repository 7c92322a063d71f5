"""Generated files: what Nova and a shell read of them."""

from __future__ import annotations

import configparser
import shlex

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.nova_release import Release
from gpu_passthrough_plugin.nova import control_plane, render
from gpu_passthrough_plugin.nova.compute import ComputeHost
from gpu_passthrough_plugin.nova.options import Mode, NovaOptions
from tests.trees import hosts
from tests.unit.nova.fleet import handed

FULL = NovaOptions(mode=Mode.FULL)
ZED = NovaOptions(Release(26))


def values(text: str, key: str) -> list[str]:
    return [
        line.partition(" = ")[2]
        for line in text.splitlines()
        if line.startswith(f"{key} = ")
    ]


def settings(text: str) -> str:
    """The text without its comments."""
    lines = [ln for ln in text.splitlines() if not ln.startswith("#")]
    return "\n".join(lines)


def test_full_mode_needs_placement() -> None:
    with pytest.raises(errors.Refused, match="Nova 26"):
        NovaOptions(Release(26), Mode.FULL)
    assert NovaOptions(Release(27), Mode.FULL).release.has_placement


def test_a_release_without_placement_is_told_nothing_of_it() -> None:
    host = handed(hosts.four_functions(), acs=True)
    for text in (
        render.compute_file(host, ZED),
        render.scheduler_file(ZED),
    ):
        assert "in_placement" not in settings(text)
    text = render.compute_file(host, NovaOptions())
    assert values(text, "report_in_placement") == ["true"]
    text = render.scheduler_file(NovaOptions())
    assert values(text, "pci_in_placement") == ["true"]


def test_the_scheduler_s_extension_is_loaded_in_full_mode() -> None:
    mine = ("ComputeFilter", control_plane.PCI_FILTER)
    text = render.scheduler_file(FULL, mine)
    assert values(text, "available_filters") == [
        "nova.scheduler.filters.all_filters",
        "gpu_passthrough_plugin.nova.filters.IommuGroupFilter",
    ]
    enabled = ",".join(control_plane.filters(FULL, mine))
    assert values(text, "enabled_filters") == [enabled]
    assert values(text, "weight_classes") == [
        "nova.scheduler.weights.all_weighers,"
        "gpu_passthrough_plugin.nova.weights.GpuAffinityWeigher"
    ]


def test_primary_mode_needs_no_extension_of_the_scheduler() -> None:
    text = render.scheduler_file(NovaOptions())
    assert "gpu_passthrough" not in settings(text)
    assert f"# available_filters = {control_plane.GROUP_FILTER_PATH}\n" in text
    assert control_plane.WEIGHER not in render.scheduler_file(ZED)


def test_each_file_has_one_section() -> None:
    host = handed(hosts.shared_group(), acs=True)
    for text, section in (
        (render.compute_file(host, FULL), "pci"),
        (render.alias_file([host], FULL), "pci"),
        (render.scheduler_file(FULL), "filter_scheduler"),
        (render.placement_file([host], FULL), "placement"),
    ):
        read = configparser.RawConfigParser(strict=False)
        read.read_string(text)
        assert read.sections() == [section]


def test_a_name_cannot_leave_its_comment() -> None:
    host = ComputeHost("c1\n[DEFAULT]\ndebug = true", ())
    text = render.compute_file(host, NovaOptions())
    assert "\n[DEFAULT]" not in text
    assert settings(text) == "[pci]\nreport_in_placement = true\n"


def test_flavors_are_a_shell_s_commands() -> None:
    options = NovaOptions(host_trait="CUSTOM_GPU_HOST")
    text = render.flavors_file([handed(hosts.four_functions())], options)
    assert text.startswith("#!/bin/sh -e\n")
    (command,) = (shlex.split(ln) for ln in settings(text).splitlines())
    assert command[-1] == "gpu-10de-1e87"
    assert "trait:CUSTOM_GPU_HOST=required" in command


def test_the_provider_file_names_the_trait() -> None:
    text = render.provider_file("CUSTOM_GPU_HOST")
    assert settings(text).endswith("\n        - CUSTOM_GPU_HOST")
