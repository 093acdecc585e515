"""Keeps one named child running: starts it, sees it die, starts it again, stops it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from tupelo_grid.config import GridConfig
from tupelo_grid.deployment.child import Child
from tupelo_grid.runtime.errors import FatalStartError

log = logging.getLogger(__name__)

StartChild = Callable[[], Awaitable[Child]]
OnDeath = Callable[[Child], Awaitable[None]]


class Supervisor:
    """Of the child `name`.

    Attributes:
        child: the process that runs now or ran last; None before the first one was ready.
        problem: why the child is not running although it should; "" when all is well.
        restarts: how often it was started again.
    """

    def __init__(
        self,
        config: GridConfig,
        name: str,
        start: StartChild,
        on_death: OnDeath,
        adopted: Child | None = None,
    ) -> None:
        self.name = name
        self.child: Child | None = None
        self.problem = ""
        self.restarts = 0
        self._config = config
        self._start = start
        self._on_death = on_death
        self._deaths_s: deque[float] = deque(maxlen=config.restarts_per_minute_max + 1)
        self._stopping = False
        # Waits for the child to be ready again after an ordered restart.
        self._again: asyncio.Future[None] | None = None
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.get_running_loop().create_task(
            self._supervise(adopted), name=f"supervise {name}"
        )
        self._task.add_done_callback(self._on_done)

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.alive

    async def ready(self) -> None:
        """Until the child was ready for the first time. Raises FatalStartError when it cannot."""
        await asyncio.shield(self._first)

    async def restart(self, timeout_s: float, stopped: Callable[[], None] = lambda: None) -> None:
        """Stops the child as `stop` does, and starts it again at once; until it is ready.

        `stopped` is called in between. A child that was not running is started like any other that
        died. When cancelled, the child is still started again. Raises FatalStartError when it does
        not start; then it is tried again like any other.
        """
        if self._stopping or self._task.done():
            raise FatalStartError(self.problem or f"{self.name} is not supervised any more")
        again = self._again = asyncio.get_running_loop().create_future()
        if self.running:
            assert self.child is not None
            await self.child.stop(timeout_s)
        stopped()
        await asyncio.shield(again)

    async def stop(self, timeout_s: float) -> None:
        """Stops the child and does not start it again; SIGKILL after `timeout_s`."""
        if self._task.done():
            return
        self._stopping = True
        if self.running:
            assert self.child is not None
            await self.child.stop(timeout_s)
            await self._task  # it still reports the death
        else:
            await self._cancel()

    async def detach(self) -> None:
        """Forgets the child, which goes on running."""
        await self._cancel()
        if self.child is not None:
            await self.child.detach()

    async def _cancel(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _is_ready_again(self, failure: FatalStartError | None = None) -> None:
        again, self._again = self._again, None
        if again is None or again.done():
            return
        if failure is None:
            again.set_result(None)
        else:
            again.set_exception(failure)
            # Whoever waits gets it; nobody waiting is no reason for a warning at exit.
            again.exception()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not self._first.done():
            self._first.cancel()
        self._is_ready_again(FatalStartError(f"{self.name} is being stopped"))
        if not task.cancelled() and task.exception() is not None:
            self.problem = f"{self.name} is not supervised any more: {task.exception()!r}"
            log.error("%s", self.problem, exc_info=task.exception())

    async def _supervise(self, adopted: Child | None) -> None:
        child = adopted
        while not self._stopping:
            if child is None:
                child = await self._try_start()
            if child is not None:
                await self._until_dead(child)
                child = None
            elif not self._first.done():
                return  # a grid whose first start fails is not started at all
            if self._stopping:
                return
            if self._again is not None:
                self.restarts += 1
                continue
            if not await self._may_restart():
                return

    async def _try_start(self) -> Child | None:
        try:
            child = await self._start()
        except (FatalStartError, OSError) as error:
            fatal = (
                error
                if isinstance(error, FatalStartError)
                else FatalStartError(f"{self.name}: {error}")
            )
            log.error("%s does not start: %s %s", self.name, fatal.message, fatal.hint)
            self.problem = f"{self.name} does not start: {fatal.message}"
            if self.child is None and not self._first.done():
                self._first.set_exception(fatal)
                # Whoever waits gets it; nobody waiting is no reason for a warning at exit.
                self._first.exception()
            self._is_ready_again(fatal)
            return None
        self.problem = ""
        return child

    async def _until_dead(self, child: Child) -> None:
        self.child = child
        if not self._first.done():
            self._first.set_result(None)
        self._is_ready_again()
        await child.wait()
        if not self._stopping and self._again is None:
            log.warning(
                "%s (pid %d) died, exit code %s", child.name, child.run.pid, child.exit_code
            )
            self.problem = f"{self.name} died and is being restarted"
        await self._on_death(child)

    async def _may_restart(self) -> bool:
        """Waits the back-off; False when the child died too often within a minute."""
        config = self._config
        now = time.monotonic()
        self._deaths_s.append(now)
        recent = sum(1 for died in self._deaths_s if now - died < 60)
        if recent > config.restarts_per_minute_max:
            self.problem = (
                f"{self.name} died {recent} times within a minute and stays down; see its log, "
                f"then `tupelo down` and `tupelo up`"
            )
            log.error("%s", self.problem)
            return False
        pause_s = config.restart_backoff_s * 2 ** (recent - 1)
        await asyncio.sleep(min(pause_s, config.restart_backoff_s_max))
        self.restarts += 1
        return True
