"""Logging of a process: one line an event on stderr, which the parent points at a file."""

from __future__ import annotations

import logging
import sys
import time

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s {name} %(name)s: %(message)s"


def configure_logging(name: str, level: str) -> None:
    """All loggers of the process to stderr, times in UTC, each line with the process's name."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter(FORMAT.format(name=name), datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # asyncio reports every slow callback at DEBUG; grpc.aio logs what its callers handle already.
    logging.getLogger("asyncio").setLevel(logging.WARNING)
