"""Generates client/tupelo/v1 from proto/tupelo/v1.

    python scripts/proto.py             write the generated modules
    python scripts/proto.py --check     exit 1 when the committed ones differ from proto/

The generator is pinned: what it writes decides which grpcio and protobuf a user needs at least.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.resources
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
OUTPUT = ROOT / "client" / "tupelo" / "v1"
GENERATOR = "1.76.0"
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def generate() -> dict[str, bytes]:
    """File name -> content of every generated module. Raises RuntimeError with what protoc said."""
    version = importlib.metadata.version("grpcio-tools")
    if version != GENERATOR:
        raise RuntimeError(
            f"grpcio-tools is {version}, must be {GENERATOR}: pip install -e '.[dev]' puts it right"
        )
    from grpc_tools import protoc

    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    includes = str(importlib.resources.files("grpc_tools") / "_proto")
    with tempfile.TemporaryDirectory(prefix="tupelo-proto-") as folder:
        status = protoc.main(
            [
                "protoc",
                f"--proto_path={PROTO}",
                f"--proto_path={includes}",
                f"--python_out={folder}",
                f"--pyi_out={folder}",
                f"--grpc_python_out={folder}",
                *sources,
            ]
        )
        if status != 0:
            raise RuntimeError(f"protoc ended with {status}; what is wrong is said above")
        made = Path(folder) / "tupelo" / "v1"
        return {path.name: path.read_bytes() for path in sorted(made.iterdir())}


def differences(made: dict[str, bytes], output: Path = OUTPUT) -> list[str]:
    """One line for each file that is missing, left over or different in `output`."""
    found = {
        path.name: path.read_bytes()
        for path in output.iterdir()
        if re.search("|".join(re.escape(suffix) + "$" for suffix in SUFFIXES), path.name)
    }
    names = sorted(made.keys() | found.keys())
    return [
        f"{output.relative_to(ROOT) / name}: {_state(made.get(name), found.get(name))}"
        for name in names
        if made.get(name) != found.get(name)
    ]


def _state(made: bytes | None, found: bytes | None) -> str:
    if made is None:
        return "has no .proto file any more"
    return "is missing" if found is None else "differs from what proto/ says"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    made = generate()
    changes = differences(made)
    if options.check:
        for line in changes:
            print(line)
        if changes:
            print("run `make proto` and commit client/tupelo/v1")
        return 1 if changes else 0
    for line in changes:
        name = Path(line.split(":")[0]).name
        if name in made:
            (OUTPUT / name).write_bytes(made[name])
        else:
            (OUTPUT / name).unlink()
        print(line.split(":")[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
