from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.host import ended_guests
from gpu_passthrough_plugin.host.ended_guests import EndedGuests

UUID = "5f0c2d3e-8d1f-4c8e-9a57-0d6b6e0f4a11"
OTHER = "0aaaaaaa-8d1f-4c8e-9a57-0d6b6e0f4a11"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ended"


@pytest.fixture
def ended(folder: Path) -> EndedGuests:
    return EndedGuests(str(folder))


def test_what_was_written_is_there_until_it_is_removed(
    ended: EndedGuests, folder: Path
) -> None:
    assert ended.entries() == ((), ())
    assert ended.read(UUID) is None
    guest = ended.write(UUID)
    assert ended.read(UUID) == guest
    assert ended.entries() == ((guest,), ())
    other = ended.write(OTHER.upper())
    assert {g.uuid for g in ended.entries()[0]} == {UUID, OTHER}
    ended.remove(guest)
    ended.remove(guest)
    assert ended.entries() == ((other,), ())
    assert [path.name for path in folder.iterdir()] == [OTHER]


def test_it_is_for_its_owner_alone(ended: EndedGuests, folder: Path) -> None:
    mask = os.umask(0)
    try:
        ended.write(UUID)
    finally:
        os.umask(mask)
    modes = [p.stat().st_mode & 0o777 for p in (folder.parent, folder)]
    assert modes == [0o700, 0o700]
    assert (folder / UUID).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o777, 0o720])
def test_a_folder_that_others_can_change_is_not_used(
    ended: EndedGuests, folder: Path, mode: int
) -> None:
    ended.write(UUID)
    folder.chmod(mode)
    for call in (ended.write, ended.read):
        with pytest.raises(errors.Unavailable, match=str(folder)):
            call(UUID)
    with pytest.raises(errors.Unavailable, match=f"{mode:o}"):
        ended.entries()


def test_a_link_in_its_place_is_not_followed(
    ended: EndedGuests, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.Unavailable):
        ended.write(UUID)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_another_end_of_the_guest_is_not_removed(ended: EndedGuests) -> None:
    first = ended.write(UUID)
    second = ended.write(UUID)
    assert first != second
    ended.remove(first)
    assert ended.read(UUID) == second


def test_what_is_no_entry_is_told(
    ended: EndedGuests, folder: Path, tmp_path: Path
) -> None:
    guest = ended.write(UUID)
    (tmp_path / "target").write_text(f'{{"uuid": "{OTHER}"}}')
    (folder / "a-folder").mkdir()
    (folder / "empty").touch()
    (folder / OTHER).symlink_to(tmp_path / "target")
    os.mkfifo(folder / "fifo")
    names = [f"{n}{OTHER[1:]}" for n in "1234567"]
    bad = (b"", b"{", b"[" * 4000, b"\xff\x00", b'{"uuid": "x"}', b" " * 9999)
    for name, text in zip(names, bad, strict=False):
        (folder / name).write_bytes(text)
    (folder / names[-1]).write_text(f'{{"uuid": "{names[-1]}"}}')
    (folder / names[-1]).chmod(0o666)
    guests, faults = ended.entries()
    assert guests == (guest,)
    assert len(faults) == 4 + len(names)
    for name in ("a-folder", "empty", "fifo", OTHER, *names):
        (line,) = (f for f in faults if f"{folder}/{name}" in f)
        assert len(line.splitlines()) == 1
    assert ended.read(OTHER) is None
    # What a write left that died.
    (folder / f".{OTHER}").write_text("{")
    assert len(ended.entries()[1]) == len(faults)
    assert ended.write(OTHER) in ended.entries()[0]


def test_it_is_bounded(
    ended: EndedGuests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended_guests, "MAX_ENTRIES", 2)
    for uuid in (UUID, OTHER, UUID):
        ended.write(uuid)
    with pytest.raises(errors.Unavailable, match="inventory sync"):
        ended.write(f"1{OTHER[1:]}")
    assert len(ended.entries()[0]) == 2


@pytest.mark.parametrize("name", ["", "../x", "/etc/passwd", ".finishing"])
def test_only_a_uuid_becomes_a_path(ended: EndedGuests, name: str) -> None:
    for call in (ended.write, ended.read):
        with pytest.raises(errors.Invalid):
            call(name)


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = EndedGuests(str(tmp_path / "file" / "ended"))
    for call in (ended.write, ended.read):
        with pytest.raises(errors.Unavailable, match=str(tmp_path)):
            call(UUID)


def test_one_process_at_a_time_finishes(ended: EndedGuests) -> None:
    with ended.finishing() as first, ended.finishing() as second:
        assert (first, second) == (True, False)
    with ended.finishing() as third:
        assert third
    assert ended.entries() == ((), ())


def test_a_suspicion_replaces_no_certain_end(ended: EndedGuests) -> None:
    suspected = ended.write(UUID, is_suspected=True)
    assert suspected.is_suspected
    certain = ended.write(UUID)
    assert ended.write(UUID, is_suspected=True) == certain
    assert ended.read(UUID) == certain


def test_an_entry_may_have_the_uuid_alone(
    ended: EndedGuests, folder: Path
) -> None:
    ended.write(UUID)
    (folder / UUID).write_text(f'{{"uuid": "{UUID}"}}')
    ((guest,), faults) = ended.entries()
    assert not faults
    assert not guest.is_suspected


@pytest.mark.parametrize("text", ["[" * 4000, "{}", "\xff", ""])
def test_a_suspicion_replaces_what_is_no_entry(
    ended: EndedGuests, folder: Path, text: str
) -> None:
    ended.write(UUID)
    (folder / UUID).write_text(text, encoding="latin-1")
    assert ended.write(UUID, is_suspected=True).is_suspected
    assert ended.entries()[1] == ()
