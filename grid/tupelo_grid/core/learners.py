"""Which learners primaries gave up, so that others are tried first. Pure.

A primary that cannot reach its learner takes it out of the configuration. The learner's lease may
move all the same: it is cut off from that primary alone. To choose it again at once would keep the
partition without its copy for as long as the cut lasts, however many others could hold it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tupelo_grid.core.table import Versioned

NOBODY: frozenset[str] = frozenset()


class GivenUp:
    """What a controller saw of it. `retry_s`: so long another candidate is preferred.

    Remembers at most one learner under way a partition, and those given up within `retry_s`.
    """

    def __init__(self, retry_s: float) -> None:
        self._retry_s = retry_s
        self._learning: dict[int, str] = {}
        self._until: dict[int, dict[str, float]] = {}

    def __bool__(self) -> bool:
        """Whether any is remembered."""
        return bool(self._until)

    def observe(self, parts: Mapping[int, Versioned], now: float) -> None:
        """A learner that is neither learning nor in sync any more was given up.

        Also one that the controller itself withdrew: it had its reason, which holds for a while.
        """
        learning = {}
        for partition, versioned in parts.items():
            config = versioned.config
            before = self._learning.get(partition, "")
            if before and before != config.learner and before not in config.in_sync:
                self._until.setdefault(partition, {})[before] = now + self._retry_s
            if config.learner:
                learning[partition] = config.learner
        self._learning = learning
        for partition, until in list(self._until.items()):
            left = {name: end for name, end in until.items() if end > now}
            if left:
                self._until[partition] = left
            else:
                del self._until[partition]

    def of(self, partition: int) -> Collection[str]:
        """Those that were given up a moment ago."""
        return self._until.get(partition, NOBODY)
