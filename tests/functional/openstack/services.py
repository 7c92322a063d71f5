"""OpenStack's processes, from the environment that they are installed in."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.functional.openstack import venv
from tests.functional.servers.process import Server

_SERVE = Path(__file__).with_name("serve.py")
# What goes on as usual, and what will go away some day.
_SKIPPED = re.compile(r" (?:DEBUG|INFO|WARNING) ")
_LINES = 60
_LETTERS = 300


class Service(Server):
    """One of OpenStack's processes, as whoever we are.

    :param variables: what it finds in its environment.
    """

    needs_user = False

    def __init__(self, name: str, variables: Mapping[str, str]) -> None:
        super().__init__(variables=variables)
        self.name = name

    def told(self) -> str:
        """What its log says, without what is usual."""
        text = (
            self.log.read_text(errors="replace") if self.log.exists() else ""
        )
        kept = [
            line[:_LETTERS]
            for line in text.splitlines()
            if not _SKIPPED.search(line)
        ]
        return "\n".join([f"--- {self.name}", *kept[-_LINES:]])


class Api(Service):
    """A service that is asked over HTTP.

    :param application: the module that has it as ``application``.
    :param given: what the application finds on its command line.
    """

    def __init__(
        self,
        name: str,
        application: str,
        variables: Mapping[str, str],
        given: Sequence[str] = (),
    ) -> None:
        super().__init__(name, variables)
        self._application = application
        self._given = given

    @property
    def url(self) -> str:
        return self.url_at("127.0.0.1")

    def url_at(self, place: str) -> str:
        """Its URL for those who reach it at another address."""
        return f"http://{place}:{self.port}"

    def _command(self) -> Sequence[str]:
        argv = (self._application, str(self.port), *self._given)
        return python(_SERVE, *argv)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url, timeout=20):  # noqa: S310
                return True
        except urllib.error.HTTPError as answer:
            # A choice of versions, or the need to say who one is.
            return answer.code in (300, 401)


class Worker(Service):
    """A service of Nova's that is asked over RabbitMQ.

    :param command: what runs it.
    """

    def __init__(
        self, name: str, command: Sequence[str], variables: Mapping[str, str]
    ) -> None:
        super().__init__(name, variables)
        self._program = command
        self._before = 0

    def start(self) -> None:
        self._before = self.log.stat().st_size if self.log.exists() else 0
        super().start()

    def _command(self) -> Sequence[str]:
        return self._program

    def _answers(self) -> bool:
        # It is said last, when it can be asked.  Source: nova, service.py.
        with self.log.open("rb") as log:
            log.seek(self._before)
            return b"Join ServiceGroup membership" in log.read()


def python(program: Path, *argv: str) -> tuple[str, ...]:
    """The command that runs a file of ours in that environment.

    Its folder's modules are not to be found instead of Python's own.
    """
    return (venv.program("python"), "-P", str(program), *argv)
