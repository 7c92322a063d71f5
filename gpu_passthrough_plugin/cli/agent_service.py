"""Entry point of ``gpu-passthrough-agent``: passes, until it is stopped.

Each pass reads the configuration again and opens its own connections, so that
a server that was restarted, or an option that was changed, needs nothing.
Only what differs from the pass before is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli import (
    agent_group,
    agent_metrics,
    dependencies,
    main,
    output,
)
from gpu_passthrough_plugin.cli.agent_group import AgentGroup
from gpu_passthrough_plugin.cli.agent_metrics import AgentMetrics
from gpu_passthrough_plugin.cli.arguments import one_line_errors
from gpu_passthrough_plugin.cli.context import Context
from gpu_passthrough_plugin.cli.output import say
from gpu_passthrough_plugin.model.hook import AGENT_SOCKET

if TYPE_CHECKING:
    from gpu_passthrough_plugin.flow.agent import Outcome, UnitCache
    from gpu_passthrough_plugin.flow.agent_recycle import Recycling
    from gpu_passthrough_plugin.flow.pass_metrics import PassMetrics
    from gpu_passthrough_plugin.host.agent_loop import Due

PROGRAM = "gpu-passthrough-agent"
# How soon the next pass is after one that could not begin.
_RETRY_S = 30.0
# How soon the next pass is where others still wait for something.
_NEXT_TASK_S = 3.0


def host_faults() -> tuple[tuple[str, str], ...]:
    """Return what is wrong with this host's libvirt hook, if it has one.

    With what a person does about it.
    """
    faults = []
    for dependency in dependencies.hook():
        try:
            dependency.check()
        except errors.Error as error:
            fault = f"the libvirt hook cannot be used: {error}"
            faults.append((fault, dependency.remedy))
    return tuple(faults)


def line(outcome: Outcome) -> str:
    """Return a finding of a pass, and what became of it, in one line."""
    finding = outcome.finding
    act = f" ({finding.act}: {outcome.result})" if finding.has_act else ""
    return f"{finding.case}: {finding.subject}: {detail(outcome)}{act}"


def detail(outcome: Outcome) -> str:
    """Return what was found, what a person does, and why an act failed."""
    finding = outcome.finding
    texts = (finding.detail, finding.remedy, outcome.text)
    return "; ".join(text for text in texts if text)


class RecyclingCache:
    """What recycles, with its connections, while the options stay."""

    def __init__(self) -> None:
        self._options: object = None
        self._recycling: Recycling | None = None

    def recycling(self, context: Context) -> Recycling | None:
        """Return what recycles by the configuration; None for nothing."""
        settings = context.settings
        options = settings.agent, settings.placement, settings.host
        if options != self._options:
            if self._recycling is not None:
                self._recycling.close()
            self._options, self._recycling = options, None
            if settings.agent.recycle:
                from gpu_passthrough_plugin.flow.agent_recycle import Recycling

                self._recycling = Recycling(
                    context.pci_providers,
                    settings.agent.nova_host or settings.host,
                )
        return self._recycling


def outcomes(
    context: Context,
    cache: UnitCache,
    recycling: Recycling | None,
    *,
    is_away: Callable[[], bool],
    is_dry: bool = False,
    metrics: PassMetrics | None = None,
) -> tuple[Outcome, ...]:
    """Do one pass; return what was found, and what became of it."""
    from gpu_passthrough_plugin.flow import agent

    host = context.host_context
    results = agent.run(
        host,
        cache,
        host_faults,
        is_dry=is_dry,
        is_away=is_away,
        metrics=metrics,
    )
    if recycling is not None:
        results += recycling.run(host, cache, is_dry=is_dry)
    return results


class Passes:
    """The passes of one process, of which each is a call of ``run``.

    :param config_files: empty for the default file.
    :param group: the agents of which this one may be a member; None for one
        that knows of no others.
    :ivar metrics: what takes and serves what passes find.
    """

    def __init__(
        self, config_files: Sequence[str], group: AgentGroup | None = None
    ) -> None:
        from gpu_passthrough_plugin.flow.agent import UnitCache

        self._config_files = config_files
        self._group = group
        self._cache: UnitCache = UnitCache()
        self._recycling = RecyclingCache()
        self._told: frozenset[str] = frozenset()
        self._marker = ""
        self._is_asked_more = False
        self.metrics = AgentMetrics()

    def run(self) -> Due:
        """Do one pass; return when the next is due."""
        from gpu_passthrough_plugin.host.agent_loop import Due

        try:
            context = Context("/", None, self._config_files, PROGRAM)
            options = context.settings.agent
            self._marker = options.nova_marker
            try:
                self.tell(map(line, self._outcomes(context)))
            finally:
                context.ledger.close()
        except errors.Error as error:
            self.metrics.failed()
            self.tell([f"no pass was possible: {error}"])
            return Due(_RETRY_S, self._marker)
        except Exception as error:  # noqa: BLE001 - the agent outlives it
            self.metrics.failed()
            self.tell([output.unexpected_text(error)])
            return Due(_RETRY_S, self._marker)
        finally:
            self.metrics.publish()
            # What a pass read is many small values with references.
            gc.collect()
        interval_s = float(options.interval_s)
        if self._is_asked_more:
            interval_s = _NEXT_TASK_S
        return Due(interval_s, self._marker)

    def _outcomes(self, context: Context) -> tuple[Outcome, ...]:
        from gpu_passthrough_plugin.flow import host_tasks, lost_hosts

        group = self._group
        if group is not None and group.is_member:
            lost_hosts.watch_own(context.ledger, context.settings.host)
        results = outcomes(
            context,
            self._cache,
            self._recycling.recycling(context),
            is_away=lambda: group is not None and group.is_away(),
            metrics=self.metrics.passes,
        )
        tasks = host_tasks.carried_out(context.host_context)
        self._is_asked_more = tasks.has_more
        return results + tasks.outcomes

    def tell(self, lines: Iterable[str]) -> None:
        """Print the lines that the pass before did not have."""
        told = frozenset(lines)
        for text in sorted(told - self._told):
            say(text)
        self._told = told


def run(argv: Sequence[str] | None = None) -> int:
    """Run the agent until a signal ends it; return the exit status."""
    main.open_standard_streams()
    output.escape_standard_streams()
    return output.run(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(words: Sequence[str]) -> int:
    if "--version" in words:
        print(f"{PROGRAM} {main.version()}")
        return 0
    parsed = _parser().parse_args(words)
    from gpu_passthrough_plugin.host.agent_loop import AgentLoop
    from gpu_passthrough_plugin.host.local_lock import LocalLock

    # What is wrong from the start ends it: systemd shows that as failed.
    context = Context("/", None, parsed.config_file, PROGRAM)
    context.require_host("the agent changes this host")
    uri = context.settings.libvirt.connection_uri
    lock = dependencies.agent_lock(context.state_path)
    alone = LocalLock(
        lock,
        "the files of the agent of this host",
        # 'host check' looks at it for a moment.
        timeout_s=5,
        on_wait=say,
    )
    context.confine(reads_only=False)
    group = AgentGroup(
        context, agent_group.new_contexts(parsed.config_file, PROGRAM)
    )
    passes = Passes(parsed.config_file, group)
    with alone(), _answering(context, parsed.config_file) as is_lost:
        dependencies.note_release(lock)
        loop = AgentLoop(passes.run, uri, say)
        # After the processes were forked that answer the hook.
        with group.running(), agent_metrics.serving(context) as metrics:
            passes.metrics = metrics
            loop.run()
        # systemd starts it again then.
        return int(is_lost())


@contextlib.contextmanager
def _answering(
    context: Context, config_files: Sequence[str]
) -> Iterator[Callable[[], bool]]:
    """Answer the libvirt hook inside, where that is possible.

    Give a function that returns whether that ended by itself.
    """
    from gpu_passthrough_plugin.cli import agent_hook, libvirt_hook
    from gpu_passthrough_plugin.host import hook_server

    options = agent_hook.options_of(config_files)
    agent_hook.import_all(context)

    def end() -> None:
        say("the processes that answer the libvirt hook ended; ending, too")
        os.kill(os.getpid(), signal.SIGTERM)

    serving = hook_server.serving(
        AGENT_SOCKET,
        lambda: agent_hook.HookAnswerer(options),
        libvirt_hook.run_detached,
        end,
    )
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(serving)
        except errors.Error as error:
            say(f"the libvirt hook does its work without this agent: {error}")
            yield lambda: False
            return
        yield lambda: server.is_lost


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        PROGRAM,
        description="Keep the ledger, libvirt and this host in step: release"
        " what guests that ended have left, record running guests, and publish"
        " this host's units. 'gpu-passthrough agent reconcile' is one pass.",
    )
    parser.add_argument(
        "--config-file",
        action="append",
        default=[],
        metavar="FILE",
        help="configuration file; may be repeated; a later one overrides an"
        " earlier one",
    )
    parser.add_argument(
        "--version", action="store_true", help="print the release, and end"
    )
    return one_line_errors(parser, PROGRAM)
