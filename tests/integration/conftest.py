"""Fixtures of the tests that run real engines."""

from tests.integration.store_places import place

__all__ = ["place"]
