"""The bounds that the core keeps, as it is given them by the configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """See `tupelo_grid.config.GridConfig` for what each one means."""

    min_in_sync: int = 1
    silent_backup_s: float = 1.5
    heartbeat_s: float = 0.1
    journal_bytes_max: int = 512 * 1024 * 1024
    pipeline_records_max: int = 65_536
    frames_pending_max: int = 4096
    sessions_max: int = 1024
    session_window: int = 65_536
    request_timeout_s: float = 10.0
    expire_records_max: int = 1000
    digest_interval_s: float = 30.0
    digest_entries_max: int = 100_000
