"""Audio: sound files of any format and rate, as mono waveforms."""

import dataclasses

import numpy as np

from mmzoo.data.media.audio import read_audio
from mmzoo.tasks.features.feature import Feature
from mmzoo.tasks.tensors import Tensor

LONG = 960_000  # samples: a minute at 16 kHz


@dataclasses.dataclass(frozen=True)
class Audio(Feature, kind="audio"):
    """A mono waveform: float32 `(time,)` in [-1, 1]; exact zeros behind its end are padding.

    Attributes:
        sample_rate: In Hz, to which recordings are resampled.
    """

    sample_rate: int = 16_000

    def __post_init__(self):
        if type(self.sample_rate) is not int or self.sample_rate < 1:
            raise ValueError(
                f"`sample_rate` must be a positive int, in Hz. Received: {self.sample_rate!r}."
            )

    def fits(self, tensor: Tensor) -> bool:
        return tensor.dtype == "float32" and len(tensor.shape) == 2

    def read(self, cell):
        if isinstance(cell, np.ndarray):
            return cell
        return read_audio(cell, sample_rate=self.sample_rate)

    @property
    def drawn_size(self):
        return self.sample_rate // 2

    def draw(self, rng, tensor, count):
        shape = self.drawn_shape(tensor, count)
        return np.clip(0.3 * rng.standard_normal(shape), -1, 1).astype(tensor.dtype)

    @classmethod
    def edge_sizes(cls, tensor):
        return [(1,), (LONG,)] if tensor.free_axes else []

    def words(self):
        return f"mono samples in [-1, 1] at {self.sample_rate} Hz"
