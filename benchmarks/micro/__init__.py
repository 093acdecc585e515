"""The core alone, in one process: micro-benchmarks, and instructions counted."""
