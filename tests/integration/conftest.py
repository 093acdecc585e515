"""Fixtures of the tests that run real engines."""

from tests.integration.small_disk import small
from tests.integration.store_places import place

__all__ = ["place", "small"]
