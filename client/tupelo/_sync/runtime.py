"""What `tupelo._async.runtime` is, with threads behind it. Written by hand.

Everything that gevent replaces is looked up when it is called, so that it does not matter whether
tupelo or the patch is imported first.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias, TypeVar

import grpc

from tupelo.codec import SpaceCodec
from tupelo.config import ClientConfig
from tupelo.session import SESSION_RANDOM_BITS, session_id
from tupelo.transport import channel_options
from tupelo.v1.data_pb2 import BatchResult

Channel = grpc.Channel
Home: TypeAlias = object
Guard = AbstractContextManager[object]
Answer = TypeVar("Answer")
CodecLoader = Callable[[], SpaceCodec]

monotonic = time.monotonic
chance = random.random


class Pending(Protocol):
    """Batches on their way."""

    def result(self) -> list[BatchResult]: ...


def home() -> Home:
    """Any thread will do."""
    return None


def check_home(_: Home) -> None:
    """Any thread will do."""


Lock = threading.Lock


def guard() -> Guard:
    return threading.RLock()


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def open_channel(address: str, config: ClientConfig) -> Channel:
    return grpc.insecure_channel(address, options=channel_options(config))


def close_channel(channel: Channel) -> None:
    channel.close()


def acquired(lock: threading.Lock, timeout_s: float) -> bool:
    """Whether the lock became the caller's in time."""
    return lock.acquire(timeout=max(0.0, timeout_s))


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def new_session_id(unix_ms: int) -> int:
    return session_id(unix_ms, random.getrandbits(SESSION_RANDOM_BITS))


def answered(answer: Answer) -> Answer:
    """Blocking calls have their answer already."""
    return answer


def wait(pending: Pending) -> list[BatchResult]:
    return pending.result()


class News:
    """Something that some wait for, each for as long as it wants to."""

    def __init__(self) -> None:
        self._told = threading.Condition()

    def tell(self) -> None:
        with self._told:
            self._told.notify_all()

    def wait(self, seconds: float) -> None:
        """Until it is told, or the time is over."""
        with self._told:
            self._told.wait(seconds)


class Turns:
    """Threads share the processor without being told to."""

    def __init__(self, items_max: int) -> None:
        pass

    def take(self, items: int) -> None:
        return


class Background:
    """There are no threads of our own: what the async client does beside, is done at once."""

    def start(self, run: Callable[[], Any]) -> None:
        run()

    def close(self) -> None:
        return
