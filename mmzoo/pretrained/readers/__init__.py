"""Readers of weight files, each to a dict of name to NumPy array, by NumPy alone.

They trust no file: sizes and offsets are checked before they are used, and nothing in a file
is ever executed.
"""

from mmzoo.pretrained.readers.ctranslate2_file import read_ctranslate2
from mmzoo.pretrained.readers.safetensors_file import read_safetensors
from mmzoo.pretrained.readers.torch_file import read_torch

__all__ = ["read_ctranslate2", "read_safetensors", "read_torch"]
