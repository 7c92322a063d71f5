"""Each reader of a foreign text, fed with what nobody would write.

Only the errors that a reader documents may come out, and in time.
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_passthrough_plugin import formats
from gpu_passthrough_plugin.formats import (
    nova_device_spec,
    nova_entry,
    nova_pci_address,
    nova_release,
    rtnetlink,
    umockdev,
)
from gpu_passthrough_plugin.model.reading import as_text
from tests.property.fuzzing import Mutator, fed
from tests.property.readers import PIECES, READERS

CORPUS = Path(__file__).with_name("corpus")
COUNT = 120
Reader = Callable[[str], object]


def pattern(text: str) -> object:
    """An address as an entry of Nova's has it: a text, or an object."""
    if text.startswith("{"):
        return nova_pci_address.parse(nova_entry.load(text))
    return nova_pci_address.parse(text)


def routes(text: str) -> object:
    """A dump of the kernel's, in hexadecimal as far as it is that."""
    digits = "".join(c for c in text if c in "0123456789abcdef")
    data = bytes.fromhex(digits[: len(digits) & ~1])
    return rtnetlink.printed(rtnetlink.messages(data), {1: "lo", 2: "eno1"})


OTHERS: dict[str, tuple[Reader, ...]] = {
    "nova_entry": (nova_entry.load, nova_entry.names),
    "nova_pci_address": (pattern,),
    "nova_release": (nova_release.parse,),
    "nova_device_spec": (
        lambda text: [
            nova_device_spec.read(entry)
            for entry in nova_device_spec.load(text)
        ],
    ),
    "rtnetlink": (routes,),
}
TARGETS = {
    name or "redaction": (*READERS.get(name, ()), *OTHERS.get(name, ()))
    for name in {*READERS, *OTHERS}
}
# Documented; whoever calls them turns it into what is not known.
RAISES: dict[str, tuple[type[Exception], ...]] = {
    "mountinfo": (ValueError,),
    "routes": (ValueError,),
    "rtnetlink": (ValueError,),
    "umockdev": (ValueError,),
}


def of_bytes(reader: Reader) -> Callable[[bytes], object]:
    return lambda data: reader(as_text(data))


def corpus(name: str) -> list[bytes]:
    """The inputs that those of a reader are made from."""
    return (CORPUS / f"{name}.txt").read_bytes().split(b"\n%%\n")


def test_every_reader_is_fed() -> None:
    modules = {
        module.name for module in pkgutil.iter_modules(formats.__path__)
    }
    assert modules | {"redaction"} == set(TARGETS)
    assert {path.stem for path in CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_reader_ends_as_it_says(name: str) -> None:
    pieces = [piece.encode() for piece in PIECES]
    for number, reader in enumerate(TARGETS[name]):
        fed(
            of_bytes(reader),
            iter(Mutator(f"{name} {number}", corpus(name), pieces)),
            COUNT,
            raises=RAISES.get(name, ()),
        )


def test_only_the_end_of_a_line_is_no_value() -> None:
    """What ``umockdev`` documents of one of its readers, and no other."""
    for text in (b"", b"a", b"\\n", b"\\x"):
        umockdev.unescaped(text)
    with pytest.raises(ValueError, match="backslash"):
        umockdev.unescaped(b"a\\")


def test_an_entry_of_nova_stays_one() -> None:
    for data in corpus("nova_entry"):
        assert nova_entry.load(as_text(data)) == json.loads(data)
