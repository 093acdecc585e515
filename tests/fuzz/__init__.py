"""Bytes that nobody meant: every decoder and servicer answers them in words, and none breaks."""
