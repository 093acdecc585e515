"""The client for threads and gevent; the same calls as the async one, without `await`.

    with tupelo.sync.connect("localhost:7400") as grid:
        carts = grid.space("carts")
        carts.put("ann", {"items": 3})

It has no threads and no event loop of its own: concurrent callers combine their calls among
themselves. Only near caches need threads: two a unit, or greenlets with gevent. With gevent, call
`grpc.experimental.gevent.init_gevent()` before connecting.
"""

from __future__ import annotations

from typing import Any

from tupelo._sync.client import Grid
from tupelo._sync.near import NearSpace
from tupelo._sync.scan import Scan
from tupelo._sync.space import Space
from tupelo.config import ClientConfig
from tupelo.seeds import client_config, seeds_of

__all__ = ["Grid", "NearSpace", "Scan", "Space", "connect"]


def connect(seed: str, *seeds: str, config: ClientConfig | None = None, **settings: Any) -> Grid:
    """Connects to a grid; use the result in a `with`, or `close` it.

    Args:
        seed, seeds: "host:port" of routers or units; any one that answers will do. The port may be
            left out (7400).
        config: settings; default `ClientConfig()`.
        settings: single settings, over those of `config`.

    Raises ConnectionLost when no grid answers within `connect_timeout_s`.
    """
    return Grid(seeds_of(seed, *seeds), client_config(config, settings)).open()
