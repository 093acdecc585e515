"""Every setting of a grid, with its meaning, unit and default.

One `GridConfig` serves all processes of a grid: the CLI makes it from its options, an optional
TOML file and `TUPELO_*` environment variables, and hands it to each process as a JSON file. All
limits of the project live here; nothing else invents one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec


class GridConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a grid.

    Attributes:
        host: address that every process binds and is reached by.
        port: of the messaging process (router, admin). The control process listens on port + 1,
            processing units on ports the system picks.
        data_dir: state file, store file, logs and run files. Created when missing.
        units: number of processing units to start.
        unit_paths: folders of processing units (each with a unit.toml) that every unit loads.
        unit_names: installed processing units (entry points of the group tupelo.units), likewise.
        partitions: of the grid; fixed when it is created. 1 to 4096.
        backups: in-sync copies beside the primary that placement aims at, 0 to 3.
        min_in_sync: replicas, primary included, without which writes are refused; a space may have
            a number of its own.
        store_url: SQLAlchemy URL of the store; "" means SQLite at `<data_dir>/store.sqlite`. For
            PostgreSQL postgresql://USER@HOST:PORT/DATABASE, with libpq's sslmode, sslrootcert,
            sslcert and sslkey after a `?`.
        store_password_file: its first line is the password; read at each connection. "": the
            URL's, or else what the environment has in PGPASSWORD.
        store_create: whether the data writer makes and widens tables ("auto") or asks for `tupelo
            store init` ("never"); "" is "auto" for SQLite and "never" for other databases.
        store_write_connections_max: of one process; so many transactions run at the same time.
        store_read_connections_max: of one process, for loads and questions.
        store_connect_s: of one attempt to connect to the store.
        store_timeout_s: of one statement, and of the wait for a free connection.

        lease_s: D of the protocol: how long a renewed lease lasts.
        lease_margin: e: a lease is overdue after lease_s * (1 + e) without change; above 0.02, by
            which clocks may differ.
        silent_backup_s: T: a backup that acknowledged nothing for so long is taken out of sync.
        heartbeat_s: pause between replication frames of an idle stream.
        digest_interval_s: the digests of all partitions are compared between primary and backups
            once in so long, or in as long as that takes.
        digest_entries_max: a partition with more entries is not compared.
        settle_s: membership must have been steady for so long before partitions are moved.
        learner_retry_s: a unit that a primary could not reach to make it a copy is not chosen for
            the same partition again for so long, as long as there are others.
        moves_per_unit_max: partitions that a unit may receive at the same time.

        durability: "memory": the copies of the in-sync set are in memory; "disk": each member also
            has its own on disk before a write is acknowledged, and comes back with it.
        fsync: "always": an acknowledged write is safe on disk; "interval": it was handed to the
            system, and is safe after `fsync_interval_s`: the loss of power of all machines at once
            may lose as much.
        fsync_interval_s: see fsync.
        disk_dir: where units keep their journals, a folder each; "": `<data_dir>/journal`.
        disk_bytes_max: of one unit's journal on disk; above it writes get OVERLOADED.
        disk_segment_bytes: a file of the journal is followed by the next when it has so many.
        disk_snapshot_bytes_min: a partition is not written anew for fewer bytes of records.
        disk_rewrite_bytes: of partitions written anew in one batch, so that writes need not wait
            long behind them.
        disk_read_bytes_s_min: a start waits, beyond `start_timeout_s`, for as long as reading all
            journals takes at this rate.
        disk_alive_s: while a batch is written, until so long after its last block, a backup is not
            taken for silent, though its acknowledgements wait.
        disk_retry_s: pause before a disk that was full is tried again.

        key_bytes_max, value_bytes_max: per key and value.
        message_bytes_max: of one gRPC message or replication frame.
        replication_bytes_max: of one replication frame: several batches may share one.
        local_sockets: units of one machine replicate through Unix sockets in place of TCP.
        batch_ops_max: operations in one batch.
        journal_bytes_max: of one unit; above it writes get OVERLOADED.
        spill_dir: where units keep what leaves their journals for files, a folder each, while the
            store is away, in grids with spaces declared so; "": `<data_dir>/spill`.
        spill_bytes_max: of one unit's files; above it those spaces too get OVERLOADED.
        spill_retry_s: pause before a disk that took nothing is tried again.
        pipeline_records_max: unacknowledged records of a partition; above it OVERLOADED.
        frames_pending_max: batches that wait in one unit for acknowledgements.
        sessions_max: client sessions remembered by one partition.
        session_window: operations of one session between acked_below and the newest.
        request_timeout_s: of a batch that names no deadline.
        rpc_timeout_s: of one call to the control process.
        watch_keys_max: changed keys kept for one watcher of the state store; above it it re-reads.
        watchers_max: watches that one coordinator serves.
        state_txns_max: state-store transactions that wait for the disk; above it they are refused.
        watch_s_max: a watch is renewed after so long, so that a dead one is noticed.
        command_items_max: entries that one command may write.
        command_bytes_max: keys and values that one command may write, together; well below
            message_bytes_max, since they travel as one record.
        decoded_entries_max: decoded entries of one space that a unit keeps for its commands.

        pump_batch_records: changes sent to the writer in one frame.
        pump_batch_s: the longest a change waits for its frame to fill.
        pump_frames_in_flight: frames of one unit, of different partitions, that wait for the
            writer's answer.
        pump_retry_s_max: pause of a unit before it sends again what the writer did not take grows
            up to this; the writer's own pauses are store_retry_s_max.
        pump_answer_s_max: a frame unanswered for so long, beyond store_retry_s_max, breaks the
            stream.
        writer_frames_max: frames of all units that wait in the data writer.
        writer_batch_records: changes that the data writer joins into one transaction; at least one
            frame.
        dead_letters_max: changes that the store may put aside as dead letters; when there are so
            many, partitions with another one are not stored any further until some are retried or
            dropped.
        store_tombstone_s: for so long the store remembers at which version a key was deleted.
        store_purge_rows: older tombstones, and dead letters that a newer change made needless,
            that one transaction of the store clears away.
        store_retry_s_min, store_retry_s_max: pause between attempts while the store is away grows
            from one to the other.
        pump_transport: how changes travel from units to data writers: "grpc" (straight to the
            messaging process) or "nats" (through a JetStream stream; needs `tupelo[nats]`).
        writers: data-writer processes that divide the partitions among them, with "nats" only;
            0: the messaging process writes.
        nats_url: nats:// or tls:// and HOST:PORT, several separated by commas; never with a
            password in it.
        nats_user: name to log in with; "" when the server asks for none, or for a token.
        nats_password_file: its first line is the password, or the token where there is no user;
            "": what the environment has in NATS_PASSWORD.
        nats_creds_file: a .creds file (JWT and seed), instead of user and password.
        nats_ca_file: certificate authority of the server; "": those of the system.
        nats_stream_bytes_max: of the grid's stream; when it is full, changes wait in the journals.
        nats_stream_age_s_max: what is older leaves the stream, and is sent again; 0: nothing does.
        nats_replicas: of the stream, in a NATS cluster.
        nats_duplicates_s: for so long JetStream knows a message again.
        nats_message_bytes_max: of one message's data; a larger record goes in parts. Less where
            the server takes less.
        nats_in_flight_max: messages of one unit that wait for the writers' answer.
        nats_publish_s: a message that JetStream did not acknowledge for so long is sent again; the
            third time the connection is given up.
        nats_answer_s: of a message without an answer for so long the unit looks whether it is
            still in the stream.
        nats_connect_s: of one attempt to reach the server.
        nats_retry_s_max: pause between those attempts grows up to this.
        nats_heartbeat_s: writers give a sign of life so often.
        nats_writer_s: a writer that gave none for so long has its partitions taken over.
        nats_ack_s: what a writer neither wrote nor spoke of for so long is given out again.
        nats_pull_messages, nats_pull_bytes_max: messages, and bytes of them, that a writer asks
            for at a time, for each of its 32 groups of partitions.
        persist_wait_s_max: a call that waits for the store is answered after so long at the latest.
        persist_waits_max: writes of one unit that calls wait for at the same time.
        load_partitions: of a unit that one cold-start call reads from the store.
        load_calls_max: such calls of one unit at the same time.
        load_timeout_s: a call that brings nothing for so long is begun anew.
        refresh_s_max: of one `tupelo refresh`.
        read_through_s: an operation waits so long at most for an entry from the store; also what
            the pause grows up to in which a store that is away is not asked.
        read_through_keys_max: entries that wait in one unit to be read.
        read_through_batch: entries read in one call.
        read_through_calls_max: such calls of one unit at the same time.
        read_through_absent_s: what the store does not have is not asked for again for so long.
        read_through_absent_max: such entries remembered by one unit.
        drain_s: how long a shutdown waits for the store to have everything.

        connections_max: open connections to one server.
        session_frames_max: unanswered requests on one Session stream.
        near_streams_max: near-cache subscriptions of one unit; a further one is refused.
        near_interval_s: changes of so long go to near caches together.
        near_records_max, near_bytes_max: journal records, and bytes of keys, of one frame to a near
            cache; a partition with more bytes at once is forgotten there instead.
        near_lag_records_max: a near cache further behind than that forgets the partition.
        ttl_ms_max: the longest time to live that a write may ask for, in milliseconds.
        router_frames_max, router_bytes_max: calls or frames of clients, and bytes of them, that one
            router holds at the same time; above either it answers OVERLOADED.
        router_client_frames_max, router_client_bytes_max: likewise of one client's connection.
        router_unit_frames_max, router_unit_bytes_max: likewise those that wait for one unit.
        routers: router processes beside the messaging process, which is one as well.
        router_port: of router-1, router-2 has the next one and so on; 0: port + 2.
        router_probe_s: a router asks units so often whether they serve their partitions.
        router_unreachable_s: a partition that it did not reach for so long makes it NOT_SERVING.
        request_timeout_s_max: a router holds a call for so long at most, whatever it asks for.
        scan_entries_max: entries of one page of the unary Scan, and of one scan operation.
        scatter_max: partitions that one unary Count or Scan asks at the same time.
        keepalive_s: a connection on which nothing came for so long is pinged.
        keepalive_timeout_s: a ping without an answer for so long ends the connection.
        via: where units reach each other's journals, or control, by another address than theirs,
            such as through a tunnel: "unit-1>unit-2" or "unit-1>control" to "host:port".
        hosts: addresses of processes that have another than `host`, such as in a network namespace
            of their own: "unit-1", "control" or "messaging" to an address.
        launchers: commands that start processes of these names, put before the process's own, such
            as "numactl --cpunodebind=0"; each must become the process, not its parent.

        units_max: processing units that `scale` accepts.
        spaces: untyped spaces that `tupelo up` creates when they do not exist.
        start_timeout_s: a process, and then the whole grid, must be ready after so long.
        stop_timeout_s: a process told to stop may take drain_s and this before it is killed.
        restart_backoff_s: pause before a process that died is started again; doubles each time.
        restart_backoff_s_max: what that pause grows up to.
        restarts_per_minute_max: a process that dies more often stays down and status says so.
        status_timeout_s: of one process's answer to a status request.
        lengths_timeout_s: how long a fail-over waits for units to say how long their journals are.
        restart_healthy_s: after each unit of a rolling restart, all partitions must be as healthy
            as before within so long.
        grpc_experiments: value of GRPC_EXPERIMENTS for every process, unless the variable is set.
            The default takes a stream's round trip from 117 to 80 us with grpcio 1.85 (DESIGN 4).
        scheduling: of every process but control, on Linux: "batch" (SCHED_BATCH) lets
            what runs go on when another process wakes up, so that messages are fewer and fuller
            where there are more processes than cores; "normal" leaves it as it is.
        log_level: DEBUG, INFO, WARNING or ERROR.
    """

    host: str = "127.0.0.1"
    port: int = 7400
    data_dir: str = ".tupelo"
    units: int = 3
    unit_paths: tuple[str, ...] = ()
    unit_names: tuple[str, ...] = ()
    partitions: int = 256
    backups: int = 1
    min_in_sync: int = 1
    store_url: str = ""
    store_password_file: str = ""
    store_create: Literal["", "auto", "never"] = ""
    store_write_connections_max: int = 4
    store_read_connections_max: int = 2
    store_connect_s: float = 5.0
    store_timeout_s: float = 30.0

    lease_s: float = 3.0
    lease_margin: float = 0.04
    silent_backup_s: float = 1.5
    heartbeat_s: float = 0.1
    digest_interval_s: float = 30.0
    digest_entries_max: int = 100_000
    settle_s: float = 1.0
    learner_retry_s: float = 10.0
    moves_per_unit_max: int = 8

    durability: Literal["memory", "disk"] = "memory"
    fsync: Literal["always", "interval"] = "always"
    fsync_interval_s: float = 1.0
    disk_dir: str = ""
    disk_bytes_max: int = 16 * 1024 * 1024 * 1024
    disk_segment_bytes: int = 64 * 1024 * 1024
    disk_snapshot_bytes_min: int = 1024 * 1024
    disk_rewrite_bytes: int = 4 * 1024 * 1024
    disk_read_bytes_s_min: int = 5 * 1024 * 1024
    disk_alive_s: float = 10.0
    disk_retry_s: float = 0.2

    key_bytes_max: int = 64 * 1024
    value_bytes_max: int = 4 * 1024 * 1024
    message_bytes_max: int = 16 * 1024 * 1024
    replication_bytes_max: int = 64 * 1024 * 1024
    local_sockets: bool = True
    batch_ops_max: int = 8192
    journal_bytes_max: int = 512 * 1024 * 1024
    spill_dir: str = ""
    spill_bytes_max: int = 16 * 1024 * 1024 * 1024
    spill_retry_s: float = 0.5
    pipeline_records_max: int = 65_536
    frames_pending_max: int = 4096
    sessions_max: int = 1024
    session_window: int = 65_536
    request_timeout_s: float = 10.0
    rpc_timeout_s: float = 2.0
    watch_keys_max: int = 1024
    watchers_max: int = 1024
    state_txns_max: int = 4096
    watch_s_max: float = 30.0
    command_items_max: int = 10_000
    command_bytes_max: int = 8 * 1024 * 1024
    decoded_entries_max: int = 100_000

    pump_batch_records: int = 2000
    pump_batch_s: float = 1.0
    pump_frames_in_flight: int = 16
    pump_retry_s_max: float = 1.0
    pump_answer_s_max: float = 30.0
    writer_frames_max: int = 1024
    writer_batch_records: int = 8000
    dead_letters_max: int = 100_000
    store_tombstone_s: float = 3600.0
    store_purge_rows: int = 5000
    store_retry_s_min: float = 0.1
    store_retry_s_max: float = 30.0
    pump_transport: Literal["grpc", "nats"] = "grpc"
    writers: int = 0
    nats_url: str = "nats://127.0.0.1:4222"
    nats_user: str = ""
    nats_password_file: str = ""
    nats_creds_file: str = ""
    nats_ca_file: str = ""
    nats_stream_bytes_max: int = 1024 * 1024 * 1024
    nats_stream_age_s_max: float = 0.0
    nats_replicas: int = 1
    nats_duplicates_s: float = 120.0
    nats_message_bytes_max: int = 512 * 1024
    nats_in_flight_max: int = 256
    nats_publish_s: float = 5.0
    nats_answer_s: float = 5.0
    nats_connect_s: float = 5.0
    nats_retry_s_max: float = 5.0
    nats_heartbeat_s: float = 0.5
    nats_writer_s: float = 3.0
    nats_ack_s: float = 30.0
    nats_pull_messages: int = 64
    nats_pull_bytes_max: int = 8 * 1024 * 1024
    persist_wait_s_max: float = 60.0
    persist_waits_max: int = 10_000
    load_partitions: int = 32
    load_calls_max: int = 2
    load_timeout_s: float = 60.0
    refresh_s_max: float = 600.0
    read_through_s: float = 2.0
    read_through_keys_max: int = 10_000
    read_through_batch: int = 256
    read_through_calls_max: int = 2
    read_through_absent_s: float = 1.0
    read_through_absent_max: int = 100_000
    drain_s: float = 30.0

    connections_max: int = 10_000
    session_frames_max: int = 64
    near_streams_max: int = 1024
    near_interval_s: float = 0.005
    near_records_max: int = 2048
    near_bytes_max: int = 1024 * 1024
    near_lag_records_max: int = 65_536
    ttl_ms_max: int = 3_155_760_000_000  # a hundred years
    router_frames_max: int = 8192
    router_bytes_max: int = 256 * 1024 * 1024
    router_client_frames_max: int = 2048
    router_client_bytes_max: int = 64 * 1024 * 1024
    router_unit_frames_max: int = 2048
    router_unit_bytes_max: int = 64 * 1024 * 1024
    request_timeout_s_max: float = 300.0
    routers: int = 0
    router_port: int = 0
    router_probe_s: float = 1.0
    router_unreachable_s: float = 5.0
    scan_entries_max: int = 1000
    scatter_max: int = 64
    keepalive_s: float = 10.0
    keepalive_timeout_s: float = 2.0
    via: Mapping[str, str] = {}
    hosts: Mapping[str, str] = {}
    launchers: Mapping[str, str] = {}

    units_max: int = 64
    spaces: tuple[str, ...] = ()
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 5.0
    restart_backoff_s: float = 0.1
    restart_backoff_s_max: float = 5.0
    restarts_per_minute_max: int = 6
    status_timeout_s: float = 1.0
    lengths_timeout_s: float = 0.2
    restart_healthy_s: float = 60.0
    grpc_experiments: str = "-event_engine_client,-event_engine_listener"
    scheduling: Literal["batch", "normal"] = "batch"
    log_level: str = "INFO"

    @property
    def control_port(self) -> int:
        return self.port + 1

    @property
    def messaging_address(self) -> str:
        return f"{self.host_of('messaging')}:{self.port}"

    @property
    def control_address(self) -> str:
        return f"{self.host_of('control')}:{self.control_port}"

    @property
    def router_addresses(self) -> dict[str, str]:
        """Of all routers by the name of their process: messaging first."""
        names = [f"router-{number}" for number in range(1, self.routers + 1)]
        others = {name: f"{self.host_of(name)}:{self.router_port_of(name)}" for name in names}
        return {"messaging": self.messaging_address, **others}

    def router_port_of(self, name: str) -> int:
        """`name`: "router-1", ..."""
        return (self.router_port or self.port + 2) + int(name.rpartition("-")[2]) - 1

    def host_of(self, name: str) -> str:
        """The address that the process of that name binds."""
        return self.hosts.get(name, self.host)

    def way(self, sender: str, receiver: str, address: str) -> str:
        """Where `sender` reaches `receiver`, which listens on `address`; names as in `via`."""
        return self.via.get(f"{sender}>{receiver}", address)


def decode_config(data: bytes) -> GridConfig:
    """From a process's JSON file. Raises msgspec.ValidationError."""
    return msgspec.json.decode(data, type=GridConfig)


def encode_config(config: GridConfig) -> bytes:
    return msgspec.json.encode(config)
