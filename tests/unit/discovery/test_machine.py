from __future__ import annotations

import pytest

from gpu_passthrough_plugin.discovery.facts import identity
from gpu_passthrough_plugin.discovery.tree import RecordedTree, Tree
from gpu_passthrough_plugin.model.reading import MISSING, Unknown

ID = b"0123456789abcdef0123456789abcdef"


def host(machine_id: bytes) -> Tree:
    return RecordedTree({"etc/machine-id": machine_id}, {})


def test_a_machine_is_the_same_at_every_look_and_no_other() -> None:
    found = identity(host(ID + b"\n"))
    # Reached as well by: printf gpu-passthrough | openssl dgst -sha256
    # -mac HMAC -macopt hexkey:0123456789abcdef0123456789abcdef
    assert (
        found
        == "adfb7bd0f9fac9ff9286b97007838dbb3ad97aebed091791296ce2aed64dfe81"
    )
    assert identity(host(ID[::-1])) != found
    assert ID.decode() not in str(found)


@pytest.mark.parametrize(
    "text", [b"", b"uninitialized\n", ID[1:], ID + b"0", ID.upper(), b"\xff"]
)
def test_an_id_that_is_none(text: bytes) -> None:
    found = identity(host(text))
    assert isinstance(found, Unknown)
    assert str(found) == "malformed (no id in etc/machine-id)"


def test_no_id() -> None:
    assert identity(RecordedTree({}, {})) == MISSING
