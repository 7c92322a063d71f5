"""Which instance a text names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.instance_names import resolve
from gpu_passthrough_plugin.compute.instances import ObservedInstances
from gpu_passthrough_plugin.model.allocation import MalformedUnit
from gpu_passthrough_plugin.model.instance import NamedInstance
from gpu_passthrough_plugin.model.reading import Unknown, Why
from tests.golden import assert_golden, sections
from tests.unit.compute.observed import (
    HOST,
    SILENT,
    A,
    B,
    C,
    allocation,
    domain,
    instance,
    observed,
)

FREE = "0aaaaaab-8d1f-4c8e-9a57-0d6b6e0f4a14"
ALL = observed(
    [allocation(A), allocation(B, host="far")],
    [instance(A, "vm-a")],
    # One holds nothing.
    [domain(A, "vm-a"), domain(C, "0aaa"), domain(FREE, "other")],
    [MalformedUnit(HOST, "1", "zz", "bad", consumer=C)],
)


@pytest.mark.parametrize(
    ("text", "uuid"),
    [
        (A, A),
        (A.upper(), A),
        (A.replace("-", ""), A),
        ("vm-a", A),
        ("other", FREE),
        ("5f0c2d3e", A),
        ("5F0C2D3E-8d", A),
        ("5f0c2d3e8d1f", A),
        ("5f0c2d3f", B),
        # An exact name wins over the beginning of two UUIDs.
        ("0aaa", C),
        ("0aaaaaab", FREE),
    ],
)
@pytest.mark.parametrize("is_destructive", [False, True])
def test_one_instance(text: str, uuid: str, is_destructive: bool) -> None:
    instance_ = resolve(text, ALL, is_destructive=is_destructive)
    assert instance_ == NamedInstance(uuid, ALL.name(uuid))


def test_a_whole_uuid_is_never_a_name() -> None:
    """Also one that nobody holds, and that a domain has as its name."""
    seen = observed([allocation(B)], [], [domain(B, A), domain(C, A.upper())])
    for text in (A, A.upper(), A.replace("-", "")):
        assert resolve(text, seen, is_destructive=True).uuid == A
    # It has another UUID, so that is what it is called by.
    assert resolve(B[:8], seen, is_destructive=True) == (B, A)


@pytest.mark.parametrize(
    "text", ["5f0", "5f-0", "5f0c2d", "5f0c-2d3e", "vm", "VM-A", "5f0c2d3e%"]
)
def test_no_instance_or_several(text: str) -> None:
    with pytest.raises((errors.Refused, errors.Invalid)) as caught:
        resolve(text, ALL, is_destructive=False)
    assert repr(text) in str(caught.value)


def test_several_are_listed() -> None:
    with pytest.raises(errors.Invalid) as caught:
        resolve("5f0c", ALL, is_destructive=False)
    assert f"{A} (vm-a), {B}" in str(caught.value)
    many = [domain(f"5f0c0000-0000-4000-8000-{n:012x}") for n in range(9)]
    with pytest.raises(errors.Invalid, match="and 4 more"):
        resolve("5f0c", observed(domains=many), is_destructive=False)


def test_a_name_that_another_guest_has_now_is_ambiguous() -> None:
    seen = observed([allocation(A)], [instance(A, "vm")], [domain(B, "vm")])
    with pytest.raises(errors.Invalid, match=B):
        resolve("vm", seen, is_destructive=True)


@pytest.mark.parametrize(
    "seen",
    [
        observed([allocation(A)], [instance(A, "vm")], SILENT),
        observed([allocation(A)], Unknown(Why.UNREADABLE, "x"), [domain()]),
    ],
)
def test_what_cannot_be_read_may_be_meant(seen: ObservedInstances) -> None:
    for text in ("vm", A[:8]):
        assert resolve(text, seen, is_destructive=False).uuid == A
        with pytest.raises(errors.Unavailable, match="whole UUID"):
            resolve(text, seen, is_destructive=True)
    assert resolve(A, seen, is_destructive=True).uuid == A


# Few digits, so that several have the same beginning.
_UUIDS = st.sets(
    st.text("01", min_size=6, max_size=6).map(lambda t: t + A[6:]), max_size=4
)


@given(
    st.text("01cC-", max_size=9) | st.integers(1, 35).map(lambda n: A[:n]),
    _UUIDS,
)
def test_a_prefix_names_what_begins_with_it_alone(
    text: str, uuids: set[str]
) -> None:
    seen = observed([allocation(uuid) for uuid in uuids])
    try:
        uuid = resolve(text, seen, is_destructive=True).uuid
    except errors.Error:
        return
    digits = text.lower().replace("-", "")
    assert len(digits) >= 4
    beginning = {u for u in uuids if u.replace("-", "").startswith(digits)}
    assert beginning == {uuid} or len(digits) == 32


def test_messages_golden() -> None:
    texts = {
        "nothing": ("nobody", ALL),
        "too short": ("5f0", ALL),
        "several": ("5f0c", ALL),
        "libvirt is silent": ("nobody", observed(domains=SILENT)),
    }
    lines: dict[str, str] = {}
    for title, (text, seen) in texts.items():
        for is_destructive in (False, True):
            with pytest.raises(errors.Error) as caught:
                resolve(text, seen, is_destructive=is_destructive)
            line = f"{type(caught.value).__name__}: {caught.value}"
            act = "to change it" if is_destructive else "to show it"
            lines[f"{title}, {act}"] = line
    assert_golden(
        Path(__file__).with_name("instance_names.txt"), sections(lines)
    )
