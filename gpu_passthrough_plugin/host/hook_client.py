"""The part of the libvirt hook that asks the agent: a program of its own.

Its text is in the file of the hook, and is run by the Python of the system:
nothing but a few built-in modules may be imported.  It may give up at any
point: the hook then does the same work without the agent.

Arguments: the socket, the process that called the hook, and the words of the
hook.  The XML of the domain is on standard input; what the agent has to say
goes to file descriptor 3.
"""

import _socket
import posix
import sys
import time

# The exit status: the agent let the guest through, refused it, or did not
# answer.  None is one that Python itself ends with.
PASSED, REFUSED, UNANSWERED = 70, 71, 72
# How long the agent may take to begin, and then longer than it said.
BEGIN_S, GRACE_S = 2.0, 1.0
MESSAGE_FD = 3
SO_PEERCRED = 17
MAX_ANSWER = 1 << 16


class Unanswered(Exception):
    pass


class Agent:
    def __init__(self, path: str) -> None:
        self.deadline = time.monotonic() + BEGIN_S
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self.limit()
        self.socket.connect(path)
        peer = self.socket.getsockopt(_socket.SOL_SOCKET, SO_PEERCRED, 12)
        if int.from_bytes(peer[4:8], sys.byteorder) != posix.geteuid():
            raise Unanswered

    def limit(self) -> None:
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise Unanswered
        self.socket.settimeout(left_s)

    def send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self.limit()
            rest = rest[self.socket.send(rest) :]

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self.limit()
            chunk = self.socket.recv(size - len(data))
            if not chunk:
                raise Unanswered
            data += chunk
        return data

    def message(self) -> tuple[bytes, bytes]:
        kind = self.receive(1)
        size = int.from_bytes(self.receive(4), "big")
        if size > MAX_ANSWER:
            raise Unanswered
        return kind, self.receive(size)


def read_all(descriptor: int) -> bytes:
    chunks = []
    while chunk := posix.read(descriptor, 1 << 20):
        chunks.append(chunk)
    return b"".join(chunks)


def tell(message: bytes) -> None:
    try:  # noqa: SIM105 - an import more
        posix.write(MESSAGE_FD, message)
    except OSError:
        # The exit status says the rest.
        pass


def parent(pid: int) -> int:
    descriptor = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY)
    # Its name is in parentheses, and may have some.
    fields = posix.read(descriptor, 4096).rpartition(b")")[2].split()
    posix.close(descriptor)
    return int(fields[1])


def ask(path: str, caller: int, words: list[bytes]) -> int:
    shell = posix.getppid()
    agent = Agent(path)
    text, joined = read_all(0), b"\0".join(words)
    sizes = len(joined).to_bytes(4, "big") + len(text).to_bytes(4, "big")
    agent.send(sizes + joined + text)
    while True:
        kind, body = agent.message()
        if kind == b"L":
            agent.deadline = time.monotonic() + float(body) + GRACE_S
        elif kind == b"?":
            # Whoever called the hook waits for it, unless it has ended.
            if posix.getppid() != shell or parent(shell) != caller:
                raise Unanswered
            agent.send(b"+")
        elif kind == b"A" and body[:1] in (b"0", b"1"):
            tell(body[1:])
            return PASSED if body[:1] == b"0" else REFUSED
        else:
            raise Unanswered


def main() -> int:
    try:
        words = [
            word.encode(sys.getfilesystemencoding(), "surrogateescape")
            for word in sys.argv[3:]
        ]
        return ask(sys.argv[1], int(sys.argv[2]), words)
    except BaseException:  # noqa: BLE001 - the hook goes on without the agent
        return UNANSWERED


if __name__ == "__main__":
    posix._exit(main())
