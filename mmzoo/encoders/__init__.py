"""Encoders: functional builders from raw input to tokens, their mask and a pooled vector."""

from mmzoo.encoders.audio_encoders import audio
from mmzoo.encoders.from_hub import tokenizer
from mmzoo.encoders.image_encoders import image
from mmzoo.encoders.text_encoders import text

__all__ = ["audio", "image", "text", "tokenizer"]
