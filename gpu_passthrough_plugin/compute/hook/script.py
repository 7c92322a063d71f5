"""The hook's program: a text that is made when it is installed."""

from __future__ import annotations

import dataclasses
import hashlib
import pprint

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.compute.hook import document

FOLDER = "/etc/libvirt/hooks/qemu.d"
"""Source: libvirt, hooks.html (since 6.5.0 every program in it)."""
PATH = f"{FOLDER}/gpu-passthrough"
MODE = 0o755

_MARK = "# Made by 'gpu-passthrough hook install'; 'hook remove' removes it."
_DIGEST = "# sha256 of what follows: "
# A kernel before 5.1 reads no more of a script's first line.  Source:
# kernel, include/uapi/linux/binfmts.h (BINPRM_BUF_SIZE).
_MOST_SHEBANG = 127

_TEXT = '''\
# libvirt runs this at each step of a guest's life, and waits for it.
import sys

WORDS = (
    b"hostdev", b"'nvme'", b'"nvme"', b"vfio",
    # What may hide a word: references, declarations, other encodings.
    b"&#", b"<!", b"<?", b"\\0",
)
MOST = {most}
KNOWN = {known}
OPTIONS = {options!r}


def is_free_of_functions(text):
    """Whether libvirt wrote it plainly, and without a word of any."""
    is_plain = text[:7] == b"<domain" and len(text) <= MOST
    return is_plain and not any(word in text for word in WORDS)


def whole(*words):
    """The whole program, in this process."""
    import site

    site.main()
    from gpu_passthrough_plugin.cli.main import main

    return main([*OPTIONS, *words])


def hand_over(uuid):
    """Begin to give back what a guest had, and let it run."""
    from gpu_passthrough_plugin.host.hook.detach import detached

    words = ("hook", "release", "--patience", "600", uuid)
    code = "import sys; from gpu_passthrough_plugin.cli.main import main"
    code += "; sys.exit(main())"
    detached(
        (sys.executable, "-I", "-c", code, *OPTIONS, *words),
        lambda: whole(*words),
        log=KNOWN["log"],
    )


def answer(name, operation, text):
    """The exit status; whatever is not understood is not let through."""
    sys.path.append({packages!r})
    from gpu_passthrough_plugin.flow import guard

    status = guard.answer(KNOWN, name, operation, text, hand_over)
    if status is None:
        import site

        site.main()
        from gpu_passthrough_plugin.cli.guard import answer

        status = answer(OPTIONS, name, operation, text, hand_over)
    return status


def run(name, operation):
    try:
        text = sys.stdin.buffer.read(MOST + 1)
        if is_free_of_functions(text):
            return 0
        return answer(name, operation, text)
    except Exception as error:
        kind = type(error).__name__
        said = f"gpu-passthrough: domain {{name}}: {{kind}}: {{error}}"
        print(" ".join(said.split()), file=sys.stderr)
        # Only a start is refused: a running guest would be killed.
        return int(operation == "prepare")


STEPS = (
    ["prepare", "begin"], ["release", "end"], ["reconnect", "begin"]
)
if sys.argv[2:4] in STEPS:
    sys.exit(run(sys.argv[1], sys.argv[2]))
'''


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """What is known when the program is made.

    :param python: the interpreter, by its absolute path.
    :param packages: the folder that holds this package.
    :param options: of the command, for what needs all of the program.
    :param known: what ``flow.guard.answer`` is given.
    """

    python: str
    packages: str
    options: tuple[str, ...]
    known: dict[str, object]


def script(terms: Terms) -> bytes:
    """The program's text.

    :raises Invalid: when no kernel could run it.
    """
    first = f"#!{terms.python} -IS"
    if len(first) > _MOST_SHEBANG or len(terms.python.split()) != 1:
        raise errors.Invalid(
            f"the kernel cannot run a script by {terms.python!r}; wanted a"
            f" path of up to {_MOST_SHEBANG - len('#! -IS')} characters"
            " without blanks: install the product elsewhere"
        )
    body = _TEXT.format(
        known=pprint.pformat(terms.known),
        most=document.MOST_BYTES,
        options=terms.options,
        packages=terms.packages,
    ).encode()
    digest = hashlib.sha256(body).hexdigest()
    head = f"{first}\n{_MARK}\n{_DIGEST}{digest}\n"
    return head.encode() + body


def is_ours(text: bytes) -> bool:
    """Whether it was made here, and nobody edited it since."""
    _, mark, digest, body = (*text.split(b"\n", 3), b"", b"", b"")[:4]
    return mark == _MARK.encode() and digest == (
        f"{_DIGEST}{hashlib.sha256(body).hexdigest()}".encode()
    )
