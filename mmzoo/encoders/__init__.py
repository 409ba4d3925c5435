"""Encoders: functional builders from raw input to tokens, their mask and a pooled vector."""

from mmzoo.encoders.audio import audio
from mmzoo.encoders.from_hub import tokenizer
from mmzoo.encoders.image import image
from mmzoo.encoders.text import text

__all__ = ["audio", "image", "text", "tokenizer"]
