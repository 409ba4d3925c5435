"""Concept-128: pictures, phrases and speech for 128 everyday concepts, embedded in mmzoo."""

from mmzoo.data.concept128.dataset import (
    ASSET,
    AUDIO_SAMPLES,
    IMAGE_SIZE,
    MODALITIES,
    SAMPLE_RATE,
    SPLITS,
    TEXT_BYTES,
    Sources,
    checksum,
    class_names,
    draw_samples,
    load_sources,
    split_sources,
    verify_asset,
)
from mmzoo.data.concept128.source import Concept128

__all__ = [
    "ASSET",
    "AUDIO_SAMPLES",
    "IMAGE_SIZE",
    "MODALITIES",
    "SAMPLE_RATE",
    "SPLITS",
    "TEXT_BYTES",
    "Concept128",
    "Sources",
    "checksum",
    "class_names",
    "draw_samples",
    "load_sources",
    "split_sources",
    "verify_asset",
]
