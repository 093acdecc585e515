"""Operation kinds as plain integers, for the hot path; the meaning is in data.proto."""

from __future__ import annotations

from typing import Final

GET: Final = 1
CONTAINS: Final = 2
PUT: Final = 3
PUT_IF_ABSENT: Final = 4
REPLACE: Final = 5
COMPARE_AND_SET: Final = 6
DELETE: Final = 7
DELETE_IF_VERSION: Final = 8
CALL: Final = 9
CALL_READ_ONLY: Final = 10
COUNT: Final = 11
SCAN: Final = 12
GET_NEAR: Final = 13

# Writes carry a token; deleting these bytes from a column of kinds leaves the reads.
WRITES: Final = bytes(
    (PUT, PUT_IF_ABSENT, REPLACE, COMPARE_AND_SET, DELETE, DELETE_IF_VERSION, CALL)
)
