"""Hazelcast: two members, an IMap with one synchronous backup."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from hazelcast.asyncio import HazelcastClient

from benchmarks.peers.processes import free_port
from benchmarks.peers.system import About
from benchmarks.peers.systems.jvm import Cluster

CONFIG: Final = """hazelcast:
  cluster-name: bench
  properties:
    hazelcast.phone.home.enabled: "false"
    hazelcast.operation.thread.count: "2"
  network:
    public-address: 127.0.0.1
    port: {{auto-increment: false, port: {port}}}
    interfaces: {{enabled: true, interfaces: [127.0.0.1]}}
    join:
      auto-detection: {{enabled: false}}
      multicast: {{enabled: false}}
      tcp-ip: {{enabled: true, member-list: [{members}]}}
  map:
    bench: {{backup-count: 1, async-backup-count: 0, in-memory-format: BINARY}}
"""


class Hazelcast:
    """Its own asyncio client, with smart routing."""

    get: Any
    put: Any
    get_many: Any
    put_many: Any

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster = Cluster("hazelcast", folder)
        jar = self._cluster.version("hazelcast")
        self.about = About(
            version=f"Hazelcast {jar}, client {version('hazelcast-python-client')}",
            replication="1 synchronous backup, 2 members",
            durability="none",
            client="asyncio client, routed to the owner",
        )

    async def open(self) -> None:
        ports = [free_port(), free_port()]
        members = [f"127.0.0.1:{port}" for port in ports]
        for number, port in enumerate(ports):
            path = self._folder / f"member-{number}.yaml"
            path.write_text(CONFIG.format(port=port, members=", ".join(members)))
            words = [
                f"-Dhazelcast.config={path}",
                "com.hazelcast.core.server.HazelcastMemberStarter",
            ]
            await asyncio.to_thread(self._cluster.start, f"member-{number}", words, port)
        self._client = await HazelcastClient.create_and_start(
            cluster_name="bench", cluster_members=members
        )
        self._map: Any = await self._client.get_map("bench")
        self.get = self._map.get
        self.put = self._map.set
        self.put_many = self._map.put_all
        self.get_many = self._map.get_all

    async def close(self) -> None:
        if hasattr(self, "_client"):
            await self._client.shutdown()
        await asyncio.to_thread(self._cluster.stop)

    def pids(self) -> list[int]:
        return self._cluster.pids

    def data_pids(self) -> list[int]:
        return self.pids()
