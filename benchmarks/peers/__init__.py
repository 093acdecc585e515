"""The grid beside what else a Python user could take: `python -m benchmarks.peers`."""
