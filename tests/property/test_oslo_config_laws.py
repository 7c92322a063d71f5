"""Configuration files are read as oslo.config reads them."""

from __future__ import annotations

import collections
import tempfile

from hypothesis import given
from hypothesis import strategies as st
from oslo_config import cfg, iniparser

from gpu_passthrough_plugin.formats import oslo_config_file

lines = st.sampled_from(
    [
        "[pci]", "[PCI]", "[DEFAULT]", "[default]", "[x", "[]", "a = b",
        "a: 'b'", 'a = "b', "a-b=c", " c", "\tc = d", "", " ", "# c", "; c",
        "a", "= b", ":", "\x0c", "\x85a", "é = ü",
    ]
) | st.text(max_size=12)  # fmt: skip
texts = st.lists(
    st.tuples(lines, st.sampled_from(["\n", "\r\n", "\r"])), max_size=12
).map(lambda parts: "".join(map("".join, parts)))


def of_oslo_config(text: str) -> dict[str, dict[str, list[str]]] | None:
    """Values by section and option; None where it refuses the file."""
    sections: dict[str, dict[str, list[str]]] = {}
    with tempfile.NamedTemporaryFile("wb", suffix=".conf") as file:
        file.write(text.encode())
        file.flush()
        try:
            cfg.ConfigParser(file.name, sections).parse()
        except iniparser.ParseError:
            return None
    return sections


@given(texts)
def test_files_are_read_as_oslo_config_reads_them(text: str) -> None:
    faults: list[str] = []
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    values = oslo_config_file.read("a.conf", data, faults)
    sections = of_oslo_config(text)
    if sections is None:
        assert faults
        return
    assert faults == []
    expected = collections.Counter(
        (section if section == "DEFAULT" else section.lower(), option, value)
        for section, options in sections.items()
        for option, written in options.items()
        for value in written
    )
    assert expected == collections.Counter(
        (v.section, v.option, v.text) for v in values
    )
