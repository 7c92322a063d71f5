"""What configuration files set of PCI devices, and its places."""

from __future__ import annotations

import json

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.formats.oslo_config_file import Value
from gpu_passthrough_plugin.nova.lint import configuration
from gpu_passthrough_plugin.nova.lint.configuration import NovaConf


def read(*texts: str) -> NovaConf:
    names = ("a.conf", "b.conf")
    return configuration.read(
        [(n, t.encode()) for n, t in zip(names, texts, strict=False)]
    )


def test_values_stand_in_the_order_in_which_nova_has_them() -> None:
    """As oslo.config 10 gives them: older names first, file by file."""
    first = (
        "[PCI]\ndevice_spec = a1\npassthrough_whitelist= w1\n"
        "device_spec : a2\n  x\n[DEFAULT]\npci_passthrough_whitelist = d1\n"
        "[pci]\npassthrough-whitelist=w2\nDevice_Spec = up\n"
    )
    second = "[pci]\r\ndevice_spec = b1\r\npassthrough_whitelist = 'wb'\r\n"
    assert [(v.place, v.text) for v in read(first, second).device_spec] == [
        ("a.conf:7", "d1"),
        ("a.conf:3", "w1"),
        ("a.conf:2", "a1"),
        ("a.conf:4", "a2\nx"),
        ("b.conf:3", "wb"),
        ("b.conf:2", "b1"),
    ]


def test_a_value_of_several_lines_has_the_place_of_its_first() -> None:
    text = '# c\n[pci]\nalias = {"name":\n    "gpu"}\n; c\n\nalias=x\n'
    assert read(text).alias == (
        Value("pci", "alias", "a.conf:3", '{"name":\n"gpu"}'),
        Value("pci", "alias", "a.conf:7", "x"),
    )


def test_the_last_of_a_switch_counts() -> None:
    first = "[pci]\nreport_in_placement = off\nreport_in_placement=On\n"
    second = "[filter_scheduler]\npci_in_placement = 0\nenabled_filters=A, B,"
    found = read(first, second)
    assert (found.report_in_placement, found.pci_in_placement) == (True, False)
    assert found.enabled_filters == ("A", "B")
    assert found.has_scheduler
    assert found.place(configuration.REPORT) == "a.conf:3"
    of_compute = "[filter_scheduler]\ntrack_instance_changes = false\n"
    assert not read(of_compute).has_scheduler
    ignored = read("[pci]\nenabled_filters = A\n")
    assert ignored._replace(values=()) == NovaConf()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[pci]\nreport_in_placement = y\n", "a.conf:2"),
        ("[pci]\nreport_in_placement = True # of all\n", "a.conf:2"),
        ("[pci]\nreport_in_placement =\n", "a.conf:2"),
        ("[filter_scheduler]\npci_in_placement = t\n", "a.conf:2"),
        ("[libvirt]\nlive_migration_permit_post_copy = y\n", "a.conf:2"),
        ("[libvirt]\ncpu_mode = maximum\n", "a.conf:2"),
        ("[pci]\nreport_in_placement = y\nreport_in_placement = no\n", ""),
        ("[pci]\nreport_in_placement = 'yes'\n", ""),
        ("[libvirt]\ncpu_mode = host-passthrough\n", ""),
        ("[DEFAULT]\nreport_in_placement = y\n", ""),
    ],
)
def test_only_what_the_type_of_an_option_takes_is_read(
    text: str, place: str
) -> None:
    """As oslo.config, which looks at the last value only."""
    assert [f.place for f in read(text).faults] == [place] * bool(place)


def test_faults_of_all_files_are_reported_together() -> None:
    text = "[pci\nfoo\n= x\n[pci]\nalias = $host\nother = $host\n"
    with pytest.raises(errors.Faults) as caught:
        read(text, "  a = b\n")
    assert [f.split(" ")[0] for f in caught.value.faults] == [
        "a.conf:1:", "a.conf:2:", "a.conf:3:", "b.conf:1:", "a.conf:5:",
    ]  # fmt: skip


def spec(text: str) -> Value:
    return Value("pci", "device_spec", "a:1", text)


def test_entries_keep_their_place_and_what_was_written() -> None:
    text = '[{"vendor_id": "10DE", "x": 1}, {"address": ""}]'
    entries, faults = configuration.device_specs([spec(text)])
    assert [(e.place, dict(e.written)) for e in entries] == [
        ("a:1", {"vendor_id": "10DE", "x": 1}),
        ("a:1", {"address": ""}),
    ]
    assert entries[0].entry.vendor_id == 0x10DE
    assert not faults
    entries, faults = configuration.device_specs([spec("[]")])
    assert not entries
    assert not faults


def test_each_fault_has_its_place() -> None:
    values = [
        spec("{"),
        Value(
            "pci", "device_spec", "a:2", '[{"vendor_id": 1, "address": 1}, {}]'
        ),
    ]
    entries, faults = configuration.device_specs(values)
    assert [fault.place for fault in faults] == ["a:1", "a:2", "a:2"]
    assert [e.place for e in entries] == ["a:2"]
    aliases, faults = configuration.aliases(
        [Value("pci", "alias", "b:1", "{}")]
    )
    assert not aliases
    assert [fault.place for fault in faults] == ["b:1"]


@pytest.mark.parametrize(
    "text", ["(" * 60 + ")" * 60, "((.*)*)*" * 3, ".{1,9999}", "0" * 65]
)
def test_what_takes_too_long_to_try_has_another_remedy(text: str) -> None:
    """Nova may start with it; what it matches there is not known."""
    long, short = ({"address": {"bus": bus}} for bus in (text, "("))
    _, faults = configuration.device_specs(
        [spec(json.dumps(long)), spec(json.dumps(short))]
    )
    assert len({fault.remedy for fault in faults}) == 2


def test_more_entries_than_a_host_has_devices_are_refused() -> None:
    many = spec("[" + "{}," * 1000 + "{}]")
    with pytest.raises(errors.Invalid, match="a:1: more than 1000"):
        configuration.device_specs([many])
    with pytest.raises(errors.Invalid, match="more than 1000"):
        configuration.aliases([Value("pci", "alias", "a:1", "{")] * 1001)
