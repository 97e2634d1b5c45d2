"""`Workers`: where the functions of tools run when they are not on the event loop, and what they occupy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agentflow.core.protocols import Call
from agentflow.core.registry import ToolSpec
from agentflow.execution.processes import Processes
from agentflow.execution.slots import Slots
from agentflow.execution.threads import Threads


class Workers:
    """Threads, processes and slots that all runs of a program share. Nothing is begun before it is needed."""

    def __init__(self, slots: Mapping[str, int] | None = None, threads: Threads | None = None) -> None:
        """Args: ``slots``, how many calls a resource takes at once, where that is not one."""
        self.slots = Slots(slots)
        self.threads = threads or Threads()
        self.processes = Processes(self.threads)

    async def call(
        self,
        spec: ToolSpec,
        ticket: Call,
        arguments: dict[str, Any],
        plain: dict[str, Any],
        warn: Callable[[str], None],
    ) -> Any:
        """Call a tool that is not ``async`` where it belongs, and stop it when the task is cancelled.

        Args:
            spec: the tool.
            ticket: its `Call`.
            arguments: what the function is called with.
            plain: its inputs as JSON and rollouts, which is what another process gets.
            warn: told where it could not be stopped.
        """

        def lost(seconds: float) -> None:
            warn(
                f"'{spec.name}' did not end within {seconds:.1f} s after it was stopped: its thread is lost, and works "
                "on. Let it look at `call.stopped`, or give it isolation='process'."
            )

        if spec.isolation == "process":
            return await self.processes.call(spec, ticket, plain, lost=lost)

        return await self.stoppable(lambda: spec.call(**arguments), ticket, lost)

    async def stoppable(
        self, function: Callable[[], Any], ticket: Call, lost: Callable[[float], None] = lambda seconds: None
    ) -> Any:
        """Call ``function`` in a thread; when the task is cancelled, its hold is closed first, see `Threads.run`."""

        def stop() -> None:
            ticket.meter.cut_off = True

        return await self.threads.run(function, stop=stop, lost=lost)

    def close(self) -> None:
        """End what is idle, and every process."""
        self.processes.close()
        self.threads.close()
