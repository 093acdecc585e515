"""Target between a unit and a client's near cache: frames that no unit should send."""

from __future__ import annotations

import random
from typing import Final

from google.protobuf.message import DecodeError
from tupelo.batch import GarbledAnswer
from tupelo.following import Follower, read_answer
from tupelo.near import NearAnswer, NearCache
from tupelo.v1 import data_pb2 as pb

from tests.fuzz.generate import message, packed, pick, wire
from tests.fuzz.harness import Broken
from tests.fuzz.wire import Stateless

KEYS: Final = (b"k", b"l", b"m")


class NearFrames(Stateless):
    """Frames into one client's near cache, which reads in between."""

    name = "near_frames"
    fresh_every = 500

    HINTS: Final = {
        "echo": pick((0, 0, 1, 2, 2**64 - 1)),
        "partitions": pick((0, 0, 1, 1, 2, 2**32 - 1)),
        "epochs": pick((0, 1, 1, 2, 3)),
        "after": pick((0, 1, 5, 2**64 - 1)),
        "through": pick((0, 1, 5, 6, 2**64 - 1)),
        "resets": pick((b"", b"\1", b"\0", b"\0\1")),
        "counts": pick((0, 1, 1, 2)),
        "keys": pick(KEYS),
        "versions": pick((0, 1, 5, 6, 2**64 - 1)),
        "space_index": pick((0, 0, 1, 2)),
    }

    def __init__(self) -> None:
        self._follower = Follower(2)
        self._cache = self._follower.cache("a", NearCache(entries_max=2))
        self._link = self._follower.opened()
        self._now = 10.0

    async def one(self, rng: random.Random) -> bool:
        self._now += rng.random()
        self._follower.ping(self._link, self._now)
        frame = message(rng, pb.NearFrame, self.HINTS)
        if rng.random() < 0.8:
            self._fit(frame)
        if rng.random() < 0.1:
            self._follower.closed(self._link)
            self._link = self._follower.opened()
        self._read(rng)
        before = list(self._follower.parts)
        try:
            self._follower.frame(self._link, pb.NearFrame.FromString(wire(rng, frame)))
        except DecodeError:
            return False
        except GarbledAnswer:
            if self._follower.parts != before:
                raise Broken("a refused frame has changed something") from None
            return False
        self._cache.validate()
        return True

    @staticmethod
    def _fit(frame: pb.NearFrame) -> None:
        """Cuts all columns to the length of the shortest, with a key each."""
        columns = (frame.partitions, frame.epochs, frame.after, frame.through, frame.keys)
        sections = min(map(len, (*columns, frame.versions)))
        for column in (*columns, frame.versions):
            del column[sections:]
        del frame.counts[:]
        frame.counts.extend([1] * sections)
        del frame.space_index[:]
        frame.resets = frame.resets[:sections].ljust(sections, b"\0") if sections else b""

    def _read(self, rng: random.Random) -> None:
        key, partition = rng.choice(KEYS), rng.randrange(2)
        ticket = self._cache.ask(key, partition, self._now)
        epoch, seen = rng.randrange(4), rng.randrange(8)
        self._follower.answered(
            self._cache, ticket, NearAnswer(1, 1, epoch, seen, rng.randrange(2)), True, 10
        )
        self._cache.lookup(key, self._now)
        try:
            read_answer((0, 1, packed(rng), 0, 0))
        except GarbledAnswer:
            return


NEAR: Final = (NearFrames,)
