"""The processing unit that `benchmarks.peers` loads into the grid under measurement."""
