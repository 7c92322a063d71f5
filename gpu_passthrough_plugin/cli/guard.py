"""libvirt's hook with all of the product, where its program is not enough.

Without cliff: libvirt waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.compute.hook.decision import Patterns, Rules
from gpu_passthrough_plugin.flow import books, guard
from gpu_passthrough_plugin.host.hook import state


def answer(
    options: Iterable[str],
    name: str,
    operation: str,
    text: bytes,
    hand_over: Callable[[str], None],
) -> int:
    """The hook's exit status.

    :param options: of the command, as the hook's program has them.
    """
    words = list(options)
    pairs = list(zip(words[::2], words[1::2], strict=True))
    roots = [value for option, value in pairs if option == "--root"]
    files = [value for option, value in pairs if option == "--config-file"]
    root = roots[0] if roots else "/"
    try:
        post = _post(Context(root, None, files), root, hand_over)
    except errors.Error as error:
        is_start = operation == guard.PREPARE
        state.complain((f"domain {name}: {error}",), is_final=is_start)
        return int(is_start)
    return guard.act(post, name, operation, text)


def _post(
    context: Context, root: str, hand_over: Callable[[str], None]
) -> guard.Post:
    found = context.settings
    return guard.Post(
        books.DriverBooks(context.ledger, found.host),
        Rules(
            found.hook.mode,
            Patterns(books.patterns(found.discovery.select)).match,
            Patterns(books.patterns(found.discovery.exclude)).match,
        ),
        hand_over,
        root=root,
        state_path=found.state_path,
        wait_s=found.hook.wait_s,
    )
