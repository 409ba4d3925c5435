"""Data sets, manifests and `tf.data` pipelines."""

from mmzoo.data.media.images import MediaError, read_audio, read_image
from mmzoo.data.tables.manifest import ManifestData, ManifestError, SkippedRow, load_manifest
from mmzoo.data.text import decode_text, encode_text

__all__ = [
    "ManifestData",
    "ManifestError",
    "MediaError",
    "SkippedRow",
    "decode_text",
    "encode_text",
    "load_manifest",
    "read_audio",
    "read_image",
]
