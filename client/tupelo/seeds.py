"""The arguments of `connect`, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tupelo.config import ClientConfig
from tupelo.errors import InvalidArgument

DEFAULT_PORT: Final = 7400


def seeds_of(*seeds: str) -> tuple[str, ...]:
    """Addresses with their ports, each once. Raises InvalidArgument."""
    checked: list[str] = []
    for seed in seeds:
        if not isinstance(seed, str) or not seed.strip():
            raise InvalidArgument(f'a seed is "host:port", not {seed!r}')
        host, colon, port = seed.strip().rpartition(":")
        if not colon or (seed.startswith("[") and seed.endswith("]")):
            host, port = seed.strip(), str(DEFAULT_PORT)
        if not host or not port.isdigit() or not 0 < int(port) < 65_536:
            raise InvalidArgument(f'a seed is "host:port", not {seed!r}')
        checked.append(f"{host}:{port}")
    return tuple(dict.fromkeys(checked))


def client_config(config: ClientConfig | None, settings: Mapping[str, Any]) -> ClientConfig:
    """`config` with single settings replaced. Raises InvalidArgument for unknown or wrong ones."""
    base = config or ClientConfig()
    if not settings:
        return base
    unknown = sorted(set(settings) - set(base.__struct_fields__))
    if unknown:
        raise InvalidArgument(
            f"no such setting: {', '.join(unknown)}; see tupelo.ClientConfig for all of them"
        )
    try:
        return msgspec.convert({**msgspec.structs.asdict(base), **settings}, ClientConfig)
    except (ValueError, msgspec.MsgspecError) as error:
        raise InvalidArgument(f"a setting is wrong: {error}") from None
