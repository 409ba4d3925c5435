"""Data sets, manifests and `tf.data` pipelines."""

from mmzoo.data.text import decode_text, encode_text

__all__ = ["decode_text", "encode_text"]
