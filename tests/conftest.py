"""What all tests share: hypothesis without deadlines, since the machine may be busy with others.

HYPOTHESIS_PROFILE=ci makes a run repeatable: the same examples each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.engines.postgres import postgres, postgres_database, postgres_url

__all__ = ["postgres", "postgres_database", "postgres_url"]

settings.register_profile(
    "default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
