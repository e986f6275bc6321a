"""Smaller networks: quantization (and pruning)."""
