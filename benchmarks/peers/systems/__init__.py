"""The systems, one adapter each, by the names they have in the results."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

from benchmarks.peers.system import System

ADAPTERS: Final[dict[str, str]] = {
    "tupelo": "tupelo.Tupelo",
    "redis-py": "redis.RedisHiredis",
    "redis-py-plain-parser": "redis.RedisPlainParser",
    "redis-py-mset": "redis.RedisMset",
    "redis-py-sync": "redis.RedisSync",
    "valkey-glide": "glide.Glide",
    "asynctnt": "tarantool.Tarantool",
    "asynctnt-async-replica": "tarantool.TarantoolAsynchronous",
    "ray": "ray.RayActor",
    "hazelcast": "hazelcast.Hazelcast",
    "ignite": "ignite.Ignite",
    "postgres": "postgres.Postgres",
}
"""Name -> "module.Class" in this package, made with a folder for the servers' files."""

NOT_HERE: Final[dict[str, str]] = {
    "olric": "the Go module proxy does not serve github.com/buraksezer/olric nor "
    "github.com/olric-data/olric (403: this module version is not available)",
}
"""Systems that could be compared but not be had, and why."""


def make(name: str, folder: Path) -> System:
    """Imports the adapter, and with it the client: one that is missing raises ImportError."""
    module_name, _, class_name = ADAPTERS[name].rpartition(".")
    module = import_module(f"benchmarks.peers.systems.{module_name}")
    adapter: Callable[[Path], System] = getattr(module, class_name)
    return adapter(folder)
