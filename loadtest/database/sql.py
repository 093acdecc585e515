"""Tables and statements of the database-centric airline.

Each call is one statement and so one transaction of its own: no lock is held over a round trip to
the service. An UPDATE with its conditions takes the row's lock and looks at the row again once it
has it, so that two customers never get the same seat, without SELECT FOR UPDATE before it.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from loadtest.airline_package import schedule

# Holds change a row in place: room in each page and no index on what changes let PostgreSQL keep
# the new version beside the old one (HOT), without work on the index. The primary key serves all
# statements: a flight's seats lie side by side in it. An index of free seats only would make
# reading sold-out flights faster and every sale slower.
TABLES: Final = """
CREATE TABLE flights (
    flight text PRIMARY KEY,
    carrier text NOT NULL,
    airline text NOT NULL,
    origin text NOT NULL,
    destination text NOT NULL,
    departs_at timestamptz NOT NULL,
    fare numeric(10, 2) NOT NULL,
    seats integer
);
CREATE TABLE seats (
    flight text NOT NULL REFERENCES flights,
    number integer NOT NULL,
    customer text,
    sold_at timestamptz,
    price numeric(10, 2),
    held_by text,
    held_until timestamptz,
    PRIMARY KEY (flight, number)
) WITH (fillfactor = 60);
"""

# One row, whatever the number of seats: two arrays are cheaper to carry and read than 138 rows.
SEAT_MAP: Final = """
SELECT f.fare, f.seats, s.free, s.held
FROM flights f, LATERAL (
    SELECT array_agg(number) FILTER (WHERE held_until IS NULL OR held_until <= now()) AS free,
           array_agg(number) FILTER (WHERE held_until > now()) AS held
    FROM (
        SELECT number, held_until FROM seats
        WHERE flight = f.flight AND customer IS NULL ORDER BY number
    ) AS unsold
) AS s
WHERE f.flight = $1
"""

OPEN: Final = """
s.flight = $1 AND s.number = $2 AND s.customer IS NULL
AND (s.held_until IS NULL OR s.held_until <= now() OR s.held_by = $3)
"""

HOLD: Final = f"""
UPDATE seats s SET held_by = $3, held_until = now() + $4 WHERE {OPEN} RETURNING now()
"""

BUY: Final = f"""
UPDATE seats s SET customer = $3, sold_at = now(), price = f.fare, held_by = NULL, held_until = NULL
FROM flights f WHERE f.flight = s.flight AND {OPEN} RETURNING s.sold_at, s.price
"""

RELEASE: Final = """
UPDATE seats SET held_by = NULL, held_until = NULL
WHERE flight = $1 AND number = $2 AND held_by = $3 AND held_until > now() RETURNING 1
"""

# Why a statement above found nothing to change.
SEAT: Final = "SELECT customer, sold_at, price FROM seats WHERE flight = $1 AND number = $2"

SOLD: Final = "SELECT flight, number, customer FROM seats WHERE customer IS NOT NULL"


async def load(url: str) -> dict[str, int]:
    """Makes the tables and puts all flights and seats into them; analyzed, as after a while."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(TABLES)
        flights = schedule.load_flights()
        names = ["flight", "carrier", "airline", "origin", "destination", "departs_at", "fare"]
        await connection.copy_records_to_table(
            "flights",
            records=[tuple(getattr(one, name) for name in [*names, "seats"]) for one in flights],
            columns=[*names, "seats"],
        )
        seats = [(seat.flight, seat.number) for seat in schedule.load_seats()]
        await connection.copy_records_to_table("seats", records=seats, columns=["flight", "number"])
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    return {"flights": len(flights), "seats": len(seats)}
