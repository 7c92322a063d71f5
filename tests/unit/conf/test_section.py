"""How files are read, and which names in them no option has."""

from __future__ import annotations

from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.conf.section import (
    Document,
    expected_driver,
    installed_drivers,
    nearest,
    read_document,
    secrets,
    unknown_options,
)

NAMES = {"DEFAULT": {"host"}, "discovery": {"select", "exclude"}, "pci": set()}


def test_names_are_oslo_configs(tmp_path: Path) -> None:
    path = tmp_path / "test.conf"
    path.write_text("[DEFAULT]\na-b = 1\n[Pci]\nalias = x\nalias = y\n")
    document = read_document(str(path))
    assert document.values("DEFAULT", "a_b") == ("1",)
    assert document.values("pci", "alias") == ("x", "y")
    assert document.values("pci", "none") == ()
    assert document.values("none", "none") == ()


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(errors.Invalid, match=r"none\.conf"):
        read_document(f"{tmp_path}/none.conf")


@pytest.mark.parametrize(
    ("group", "name", "data"),
    [
        ("discovery", "select", ()),
        ("pci", "report_in_placement", ()),
        ("prometheus", "port", ()),
        ("discovery", "exlude", ("[discovery] exlude", "exclude?")),
        ("discovery", "zzz", ("[discovery] zzz", "exclude, select")),
        ("disovery", "select", ("[disovery]", "[discovery]?")),
    ],
)
def test_names_of_no_option(
    group: str, name: str, data: tuple[str, ...]
) -> None:
    document = Document("/etc/x.conf", {group: {name: ("",)}})
    faults = [*unknown_options(document, NAMES, {"pci"})]
    assert len(faults) == bool(data)
    for fault in faults:
        assert fault.startswith("/etc/x.conf: ")
        assert all(datum in fault for datum in data)


def test_the_nearest_name_ignores_case() -> None:
    assert nearest("SELCT", ["select", "exclude"]) == "select"
    assert nearest("zzz", ["select", "exclude"]) == ""


def test_what_is_secret_in_a_file() -> None:
    options = {
        "connection": ("mysql://u:Tr0ub4dor@db/l",),
        "auth_url": ("http://u:c0rrect@ctl",),
        "password": ("h0rse",),
        "keyfile": ("/etc/key.pem",),
        "secret": ("/Zk3+abcd9", "abc"),
        "word": ("st4ple",),
        "user": ("root",),
    }
    assert secrets([Document("/etc/x", {"a": options})], {"word"}) == {
        "Tr0ub4dor",
        "c0rrect",
        "h0rse",
        "/Zk3+abcd9",
        "st4ple",
    }


def test_drivers_that_are_installed() -> None:
    assert "file" in installed_drivers("tooz.backends")
    assert installed_drivers("no.such.namespace") == frozenset()
    assert "file, redis;" in expected_driver({"redis", "file"})
    assert "none is installed" in expected_driver(())
