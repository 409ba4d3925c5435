"""Checkpoints, and training that goes on from them."""
