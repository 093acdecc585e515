from persistence_unit.unit import unit

__all__ = ["unit"]
