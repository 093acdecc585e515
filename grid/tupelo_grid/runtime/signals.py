"""Signals become an event: whoever holds it decides what a graceful stop is."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import signal

log = logging.getLogger(__name__)


def stop_on_signals(stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT set `stop`; SIGUSR1 writes every thread's stack to stderr.

    Call it in the running loop. Repeated signals change nothing: a drain under way goes on, and
    whoever cannot wait for it has SIGKILL.
    """
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        log.info("%s: stopping", number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1, all_threads=True)
