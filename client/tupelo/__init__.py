"""tupelo: a space-based in-memory data grid whose processing units are Python.

    async with tupelo.connect("localhost:7400") as grid:
        carts = grid.space("carts")
        await carts.put("ann", {"items": 3}, ttl_s=600)
        cart = await carts.get("ann")

`tupelo.sync.connect` is the same for threads and gevent; `tupelo.unit` is for the authors of
processing units.
"""

# ruff: noqa: E402  grpc reads its experiments once, when it is imported.

from __future__ import annotations

from tupelo import config

config.set_grpc_experiments()

from importlib.metadata import version as _version

from tupelo import errors, sync
from tupelo._async.client import Grid
from tupelo._async.connect import connect
from tupelo._async.near import NearSpace
from tupelo._async.scan import Scan
from tupelo._async.space import Space
from tupelo.config import ClientConfig
from tupelo.errors import ApplicationError, OutcomeUnknown, TupeloError
from tupelo.near import NearCache, NearStats
from tupelo.results import Item, Token, Versioned, Written, WrittenMany
from tupelo.unit import Command, Entry, ProcessingUnit

__version__ = _version("tupelo")

__all__ = [
    "ApplicationError",
    "ClientConfig",
    "Command",
    "Entry",
    "Grid",
    "Item",
    "NearCache",
    "NearSpace",
    "NearStats",
    "OutcomeUnknown",
    "ProcessingUnit",
    "Scan",
    "Space",
    "Token",
    "TupeloError",
    "Versioned",
    "Written",
    "WrittenMany",
    "__version__",
    "connect",
    "errors",
    "sync",
]
