"""Augmentation of batches, as pure functions of a key."""
