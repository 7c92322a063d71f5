"""A password, written wrongly into every option: no output has it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

S = "Tr0ub4dor-and-3"
# Each file in a process of its own, without importing all of it again.
_SCRIPT = """
import os, sys
from gpu_passthrough_plugin import conf
from gpu_passthrough_plugin.cli.app import App
from gpu_passthrough_plugin.cli.main import main
words, files = sys.argv[1].split(), sys.argv[2:]
for file in files:
    print(f"== {file}", flush=True)
    if not os.fork():
        try:
            main(["--config-file", file, *words])
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    os.wait()
"""
# Nothing listens on port 1.
SERVER = "127.0.0.1:1"
BACKENDS = (
    "etcd3+http",
    "etcd3+https",
    "redis",
    "zookeeper",
    "kazoo",
    "mysql",
    "postgresql",
    "memcached",
    "file",
    "nosuch",
)
# What may be wrong with a URL of scheme {0}.
WRONG = (
    f"{{0}}://u:{S}@{SERVER}/d",
    f"{{0}}://u:x@{S}@{SERVER}/d",
    f"{{0}}://u:x/{S}@{SERVER}/d",
    f"{{0}}://u:x?{S}@{SERVER}/d",
    f"{{0}}://u:x#{S}@{SERVER}/d",
    f"{{0}}://{SERVER}/d?user=u&password={S}",
    f"{{0}}://{SERVER}/d?user=u&passwd={S}&nonsense=1",
    f"{{0}}://{SERVER}/d?password=a@{S}",
    f"{{0}}://u:{S}",
    f"{{0}}://u:{S}@{SERVER}:abc/d",
    f"{{0}}:/u:{S}@{SERVER}/d",
    f"u:{S}@{SERVER}/d",
    S,
)
DATABASES = ("mysql+pymysql", "postgresql+psycopg", "sqlite", "oracle", "x y")
FAST = "max_retries = 1\nretry_interval = 0\ndb_max_retries = 0\n"
_AUTH = (
    "auth_type = password\nusername = u\nproject_name = p\n"
    "user_domain_name = d\nproject_domain_name = d\ntimeout = 2\n"
    "connect_retries = 1\n"
)
_IN_URL = f"http://u:{S}@{SERVER}"
PLACEMENTS = (
    f"{_AUTH}auth_url = {_IN_URL}\npassword = {S}",
    f"{_AUTH}auth_url = http://u:x@{S}@{SERVER}\npassword = {S}",
    f"{_AUTH}auth_url = u:{S}@{SERVER}\npassword = {S}",
    f"{_AUTH}auth_url = {SERVER}/?password={S}\npassword = {S}",
    f"{_AUTH}pass_word = {S}\nauth_url = {_IN_URL}",
    f"auth_type = none\nendpoint = {_IN_URL}",
    f"auth_type = http_basic\nusername = u\npassword = {S}\n"
    f"endpoint = {_IN_URL}",
    f"auth_type = admin_token\ntoken = {S}\nendpoint = {_IN_URL}/x?y={S}",
    f"auth_type = v3applicationcredential\nauth_url = {_IN_URL}\n"
    f"application_credential_id = i\napplication_credential_secret = {S}",
    f"auth_type = none\nendpoint_override = {_IN_URL}",
    f"{_AUTH}password = {S}",
    f"{_AUTH}auth_url = {_IN_URL}\npassword {S}",
    f"{_AUTH}auth_url = {_IN_URL}\ntimeout = {SERVER}\npassword = ${S}",
)


def said(tmp_path: Path, texts: Sequence[str], words: str) -> list[str]:
    """Return all that a command says of each of some configurations."""
    files = []
    for number, text in enumerate(texts):
        file = tmp_path / f"{number}.conf"
        file.write_text(
            f"[DEFAULT]\nhost = h\nstate_path = {tmp_path}\n{text}\n"
        )
        files.append(str(file))
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, words, *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=True,
    )
    answers = done.stdout.split("== ")[1:]
    assert len(answers) == len(texts)
    return answers


def require_hidden(
    tmp_path: Path, texts: Sequence[str], words: str, step: int = 1
) -> None:
    """Try each text, and with all messages each that is some steps on."""
    for options, tried in (("", texts), ("--debug -v -v ", texts[::step])):
        answers = said(tmp_path, tried, f"{options}{words}")
        for text, answer in zip(tried, answers, strict=True):
            assert "gpu-passthrough: " in answer or "fail" in answer, text
            assert S not in answer, f"{text}: {answer}"


@pytest.mark.parametrize("dialect", DATABASES)
def test_database(tmp_path: Path, dialect: str) -> None:
    texts = [
        f"[database]\n{FAST}connection = {form.format(dialect)}"
        for form in WRONG
    ]
    require_hidden(tmp_path, texts, "inventory list")


@pytest.mark.parametrize("scheme", BACKENDS)
def test_coordination(tmp_path: Path, scheme: str) -> None:
    texts = [
        f"[coordination]\ntimeout_s = 1\nbackend_url = {form.format(scheme)}"
        for form in WRONG
    ]
    # A backend that does not answer is waited for.
    require_hidden(tmp_path, texts, "allocation delete " + "0" * 32, step=4)


def test_placement(tmp_path: Path) -> None:
    texts = [
        f"[allocation]\ndriver = placement\n[placement]\n{text}"
        for text in PLACEMENTS
    ]
    require_hidden(tmp_path, texts, "inventory list")


def test_files_that_are_malformed(tmp_path: Path) -> None:
    texts = (
        f"[database]\nconnection\n  mysql://u:{S}@h/d",
        f"[database\nconnection = mysql://u:{S}@h/d",
        f"[database]\nmysql://u:{S}@h/d",
        f"[database]\n{S}",
    )
    require_hidden(tmp_path, texts, "inventory list")


def test_a_placement_that_is_not_there(tmp_path: Path) -> None:
    """keystoneauth warns of what it cannot discover, with its URL."""
    text = (
        f"[allocation]\ndriver = placement\n[placement]\n{_AUTH}"
        f"password = {S}\nauth_url = {_IN_URL}"
    )
    (answer,) = said(tmp_path, [text], "inventory list")
    assert S not in answer
    assert answer.count("\n") == 2, answer
