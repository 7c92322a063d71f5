"""URLs with credentials: what of one may be shown, and what is secret.

A URL that its own program would refuse is written as well, with a password
that is not escaped or without a scheme; hence this reads no more than it has
to, and takes for secret what may be.

Source: RFC 3986, section 3.2.1 (userinfo); SQLAlchemy, ``engine/url.py``.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Iterator

HIDDEN = "***"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
# What is written instead of a URL of a file.
_PATH = re.compile(r"/[\w./-]*")
_HOST = r"(?:[\w.-]*|\[[0-9A-Fa-f:.%]*\])(?::[0-9]*)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|cred", re.IGNORECASE)
# A shorter text is in too many words to be hidden in messages.
MIN_HIDDEN = 4


def redacted(url: str) -> str:
    """Return a URL without user, password and query (which may hold one).

    What is no URL at all is hidden, unless it is a path.
    """
    if _PATH.fullmatch(url):
        return url
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return HIDDEN
    credentials, at, place = rest.rpartition("@")
    if rest.startswith("/"):
        credentials, at, place = "", "", rest
    if "?" in credentials:
        # Either in a password, or the query has an @.
        return f"{scheme}://{HIDDEN}"
    place = re.split("[?#]", place)[0]
    hosts, slash, path = place.partition("/")
    if not _HOSTS.fullmatch(hosts):
        hosts = HIDDEN
    return f"{scheme}://{f'{HIDDEN}@' if at else ''}{hosts}{slash}{path}"


def secrets(url: str) -> frozenset[str]:
    """Return every part of a URL that may be a password, as it may appear.

    Without those that are too short to be hidden in a message.
    """
    return frozenset(p for p in _parts(url) if len(p) >= MIN_HIDDEN)


def without_secrets(message: str, url: str) -> str:
    """Return a message about a URL, with its secrets replaced.

    Return "" if a short one stands inside a word, where it may be a part of
    that word or a secret beside other text.
    """
    short = {part for part in _parts(url) if 0 < len(part) < MIN_HIDDEN}
    for part in short:
        word = rf"(?<!\w){re.escape(part)}(?!\w)"
        message = re.sub(word, HIDDEN, message)
    if any(part in message for part in short):
        return ""
    return hidden(message, secrets(url))


def _parts(url: str) -> set[str]:
    parts = set(_written(url))
    parts |= {urllib.parse.unquote(part) for part in parts}
    return parts | {urllib.parse.unquote_plus(part) for part in parts}


def _written(url: str) -> Iterator[str]:
    rest = url.partition("://")[2] or url
    credentials, at, place = rest.rpartition("@")
    if at:
        password = credentials.partition(":")[2]
        yield password
        yield from re.split("[@:/?#]", password)
    elif not rest.startswith("/"):
        hosts = re.split("[/?#]", place)[0]
        if not _HOSTS.fullmatch(hosts):
            yield hosts.partition(":")[2]
    for option in re.split("[?&#]", rest):
        name, _, value = option.partition("=")
        if _SECRET_NAME.search(name):
            yield value
            yield from value.split("@")


def is_secret_name(name: str) -> bool:
    """Return whether an option of this name may hold a secret."""
    return bool(_SECRET_NAME.search(name))


def hidden(text: str, secrets_in_it: Iterable[str]) -> str:
    """Return a text with each of these secrets replaced."""
    for secret in sorted(secrets_in_it, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
