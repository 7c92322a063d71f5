"""What of a URL is shown: never a password, however it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_passthrough_plugin.formats.url import (
    hidden,
    is_secret_name,
    redacted,
    secrets,
    without_secrets,
)

S = "Tr0ub4dor"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////var/lib/l.sqlite", "sqlite:////var/lib/l.sqlite"),
        ("sqlite:////srv/a@b/l", "sqlite:////srv/a@b/l"),
        (f"mysql+pymysql://u:{S}@db/l", "mysql+pymysql://***@db/l"),
        (f"mysql://u:x@{S}@db:3306/l", "mysql://***@db:3306/l"),
        (f"postgresql://db/l?user=u&password={S}", "postgresql://db/l"),
        (f"postgresql://db/l?password=a@{S}", "postgresql://***"),
        (f"mysql://u:a?{S}@db/l", "mysql://***"),
        (f"mysql:///l?password=a@{S}", "mysql:///l"),
        (f"redis://:{S}", "redis://***"),
        (f"redis://u:{S}/0", "redis://***/0"),
        (f"u:{S}@db/l", "***"),
        (S, "***"),
        ("/var/lib/locks", "/var/lib/locks"),
        (f"{S} x://h", "***"),
        ("zookeeper://a:2181,b:2181", "zookeeper://a:2181,b:2181"),
        ("etcd3+http://[fd00::1]:2379", "etcd3+http://[fd00::1]:2379"),
        (f"http://u:{S}@ctl/identity#x", "http://***@ctl/identity"),
    ],
)
def test_what_is_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown
    assert S not in hidden(f"cannot use {url}: {S}", secrets(url) or {S})


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://u:{S}@db/l",
        f"mysql://u:x@{S}@db/l",
        f"u:{S}@db/l",
        f"u:x/{S}@db/l",
        f"mysql://db/l?passwd={S}",
        f"mysql://db/l?ssl=1&password=a@{S}",
        f"redis://:{S}",
        "mysql://u:%54r0ub4dor@db/l",
    ],
)
def test_what_is_secret(url: str) -> None:
    assert S not in hidden(f"host {S!r} is not known", secrets(url))


def test_what_is_not() -> None:
    assert secrets("mysql://root@db:3306/ledger?charset=utf8") == frozenset()
    assert secrets("sqlite:////root/ledger") == frozenset()
    assert is_secret_name("application_credential_secret")
    assert not is_secret_name("auth_url")


@given(
    st.text(min_size=1),
    st.from_regex(r"[A-Za-z0-9]{8,20}", fullmatch=True),
    st.sampled_from(["mysql://u:{}@h/d", "mysql://h/d?password={}", "u:{}@h"]),
)
def test_a_password_is_never_shown(
    around: str, password: str, form: str
) -> None:
    for written in (f"{around}@{password}", password):
        assert password not in redacted(form.format(written))


@pytest.mark.parametrize(
    ("form", "message", "shown"),
    [
        ("redis://:{}@h/0", "no port in 'abc'", "no port in '***'"),
        ("redis://:{}@h/0", "no abcd", ""),
        ("redis://h:{}", "not a number: 'abc'", "not a number: '***'"),
        (
            "mysql://h/l?passwd={}&timeout=5",
            "abc, after 5 s",
            "***, after 5 s",
        ),
        ("redis://:{}@h/0", "refused", "refused"),
    ],
)
def test_a_short_password_in_a_message(
    form: str, message: str, shown: str
) -> None:
    assert without_secrets(message, form.format("abc")) == shown


def test_a_long_password_in_a_message() -> None:
    assert without_secrets(f"x{S}x", f"redis://:{S}@h") == "x***x"
