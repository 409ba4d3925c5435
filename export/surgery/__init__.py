"""Keras models read, described and cut: tokenizers, encoders, extra signatures."""
