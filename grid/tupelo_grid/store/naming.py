"""Names of tables and columns in the store, from names of spaces and fields.

A name is used as it is when every database keeps it apart from all others: lower case, at most 63
bytes of UTF-8, and none of the prefixes `tupelo_`, `sqlite_`, `pg_`. Any other name becomes its
lower-case form, cut to 40 characters, `_`, and 16 hexadecimal digits of the xxh3_64 of the name;
with a reserved prefix also `s_` in front. Spaces "Carts" and "carts" so are `carts_<digits>` and
`carts`: SQLite compares names without case, PostgreSQL cuts them at 63 bytes.
"""

from __future__ import annotations

from typing import Final

import xxhash

RESERVED: Final = ("tupelo_", "sqlite_", "pg_")
NAME_BYTES_MAX: Final = 63


def database_name(name: str) -> str:
    """The table of a space, or the column of a field. Always to be quoted."""
    lower = name.lower()
    reserved = lower.startswith(RESERVED)
    if name == lower and not reserved and 0 < len(name.encode()) <= NAME_BYTES_MAX:
        return name
    digits = f"{xxhash.xxh3_64_intdigest(name.encode()):016x}"
    kept = lower[:40].encode()[:40].decode(errors="ignore")
    return f"{'s_' if reserved else ''}{kept}_{digits}"
