"""The metrics of ``gpu-passthrough-agent``, where an address is set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gpu_passthrough_plugin import errors
from gpu_passthrough_plugin.cli.output import say, unexpected_text

if TYPE_CHECKING:
    from gpu_passthrough_plugin.cli.context import Context
    from gpu_passthrough_plugin.flow.pass_metrics import PassMetrics
    from gpu_passthrough_plugin.host.metrics_server import MetricsServer


class AgentMetrics:
    """What passes leave, and who serves that.

    :ivar passes: takes what each pass finds; None where nothing is served.
    """

    def __init__(
        self,
        passes: PassMetrics | None = None,
        server: MetricsServer | None = None,
    ) -> None:
        self.passes = passes
        self._server = server

    def failed(self) -> None:
        """Take that no pass was possible."""
        if self.passes is not None:
            self.passes.failed()

    def publish(self) -> None:
        """Serve what the last pass left."""
        if self.passes is None or self._server is None:
            return
        try:
            self._server.publish(self.passes.families())
        except Exception as error:  # noqa: BLE001 - the agent outlives it
            say(unexpected_text(error))


@contextlib.contextmanager
def serving(context: Context) -> Iterator[AgentMetrics]:
    """Serve metrics inside, where an address is set and that is possible.

    What is served nowhere costs nothing: no package is imported for it.
    """
    address = context.settings.agent.metrics_address
    if address is None:
        yield AgentMetrics()
        return
    from gpu_passthrough_plugin.flow.pass_metrics import PassMetrics
    from gpu_passthrough_plugin.host import event_counters, metrics_server

    counters = event_counters.of_host(context.state_path)
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(metrics_server.serving(address))
        except errors.Error as error:
            say(f"no metrics are served: {error}")
            yield AgentMetrics()
            return
        metrics = AgentMetrics(PassMetrics(counters), server)
        metrics.publish()
        yield metrics
