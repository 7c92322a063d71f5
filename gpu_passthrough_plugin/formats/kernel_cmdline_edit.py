"""What is done with each kernel argument that is wrong where it stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gpu_passthrough_plugin.formats import typos
from gpu_passthrough_plugin.formats.word import Word, parsed
from gpu_passthrough_plugin.model.arguments import Arguments

Fates = tuple[str | None, ...]


class Corrected(NamedTuple):
    """What becomes of each word, in their order; None: it goes."""

    words: Fates
    notes: tuple[str, ...]


def corrected(words: Sequence[str], wanted: Arguments) -> Corrected:
    """Each word as it should stand; those that are right stay as they are."""
    mended, notes = _spelled(tuple(words), wanted)
    merged, more = _merged(_turned(mended, wanted), wanted)
    return Corrected(merged, tuple(dict.fromkeys((*notes, *more))))


def is_said(words: Iterable[Word], text: str) -> bool:
    """Whether a whole word, or one that lists it with more, is there."""
    wanted = parsed(text)
    same = [w for w in words if w.name == wanted.name]
    # A module takes the last one, and forgets those before it.
    if "." in wanted.name and not wanted.name.startswith("rd."):
        same = same[-1:]
    return any(w.says(wanted) for w in same)


def is_listed(words: Iterable[Word], name: str, values: Sequence[str]) -> bool:
    """Whether the last list of that name has all these values."""
    wanted = parsed(name).name
    same = [w.values or () for w in words if w.name == wanted]
    return bool(same) and set(values) <= set(same[-1])


def is_against(word: Word, wanted: Arguments) -> bool:
    """Whether a word, or a value in its list, must never be there."""
    return any(word.says(one) for one in _never(wanted))


def _never(wanted: Arguments) -> tuple[Word, ...]:
    """What must never be there; of a list that is wanted, value by value.

    One that had fewer values before is against nothing that it has now.
    """
    lists = {parsed(name).name: values for name, values in wanted.lists}
    found: list[Word] = []
    for word in map(parsed, wanted.never):
        if word.name not in lists:
            found.append(word)
            continue
        found += (
            word._replace(values=(value,))
            for value in word.values or ()
            if value not in lists[word.name]
        )
    return tuple(found)


def _spelled(words: Fates, wanted: Arguments) -> Corrected:
    """Misspelt names put right."""
    by_name = {parsed(text).name: text for text in wanted.words}
    lists = {parsed(name).name: name for name, _ in wanted.lists}
    never = (parsed(text).name for text in wanted.never)
    names = {*by_name, *lists, *never}
    fates, notes = list(words), []
    for at, text in _there(words):
        one = parsed(text)
        name = typos.meant(one.name, names)
        if name in lists:
            right = one._replace(spelled=lists[name])
            fates[at] = right.with_values(one.values or ())
        elif name in by_name:
            right_text = by_name[name]
            is_there = is_said(_words(fates), right_text)
            fates[at] = None if is_there else right_text
        else:
            continue
        notes.append(
            f"{text} is nothing that the kernel knows, and it does not"
            f" complain: {fates[at] or 'nothing'} in its place"
        )
    return Corrected(tuple(fates), tuple(notes))


def _turned(words: Fates, wanted: Arguments) -> Fates:
    """Without what must never be there; ``off`` becomes ``on`` in place."""
    never = _never(wanted)
    fates = list(words)
    for at, text in _there(words):
        one = parsed(text)
        bad = [n for n in never if one.says(n)]
        if bad:
            said = [w for w in _words(fates) if not is_against(w, wanted)]
            fates[at] = _cleaned(one, bad, _instead(one, said, wanted))
    return tuple(fates)


def _instead(
    one: Word, said: Sequence[Word], wanted: Arguments
) -> tuple[str, ...]:
    """Values of what is wanted of that parameter and not said yet."""
    for text in wanted.words:
        word = parsed(text)
        if word.name == one.name and not is_said(said, text):
            return word.values or ()
    return ()


def _cleaned(
    one: Word, bad: Sequence[Word], instead: tuple[str, ...]
) -> str | None:
    wrong = {value for word in bad for value in word.values or ()}
    values: list[str] = []
    for value in one.values or ():
        values += instead if value in wrong else (value,)
    return one.with_values(tuple(dict.fromkeys(values)))


def _merged(words: Fates, wanted: Arguments) -> Corrected:
    """Lists of one name as one, where the last one lacks something."""
    fates, notes = list(words), []
    for name, values in wanted.lists:
        places = [
            (at, parsed(text))
            for at, text in _there(fates)
            if parsed(text).name == parsed(name).name
        ]
        if not places or is_listed([w for _, w in places], name, values):
            continue
        first, one = places[0]
        found = [v for _, w in places for v in w.values or () if v]
        for at, _ in places:
            fates[at] = None
        fates[first] = one.with_values(tuple(dict.fromkeys((*found, *values))))
        if len(places) > 1:
            notes.append(
                f"{name}= stood there {len(places)} times, and the kernel"
                f" takes the last: {fates[first]} in their place"
            )
    return Corrected(tuple(fates), tuple(notes))


def _there(words: Iterable[str | None]) -> list[tuple[int, str]]:
    return [(at, w) for at, w in enumerate(words) if w is not None]


def _words(words: Iterable[str | None]) -> list[Word]:
    return [parsed(text) for _, text in _there(words)]
