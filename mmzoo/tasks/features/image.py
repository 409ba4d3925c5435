"""Images: pictures of any format and size, brought to what a model takes."""

import dataclasses
from typing import ClassVar

import numpy as np

from mmzoo.data.media.images import IMAGE_FIT, IMAGE_FITS, read_image
from mmzoo.tasks.features.feature import Feature
from mmzoo.tasks.tensors import Tensor

NONE = "none"  # an image keeps its own size
FITS = (*IMAGE_FITS, NONE)
LARGE = (3000, 4000)  # pixels
WORDS = {
    "stretch": "scaled to {height} x {width}, whatever its proportions",
    "pad": "scaled to fit into {height} x {width} in its proportions, centred on white",
    "crop": "cut to the proportions of {height} x {width} around its middle, and scaled to it",
    NONE: "as it is, in its own size",
}


@dataclasses.dataclass(frozen=True)
class Image(Feature, kind="image"):
    """An RGB image: uint8 or float32 `(height, width, 3)`, values from 0 to 255.

    Attributes:
        size: Height and width in pixels that an image is brought to; None where it keeps its own.
        fit: How: "stretch" scales each side by itself, "pad" keeps the proportions and centres
            the image on white, "crop" cuts it around its middle first, "none" leaves it as it is.
    """

    padded: ClassVar[bool] = False  # a black edge is no part of an image
    size: tuple[int, int] | None = None
    fit: str = IMAGE_FIT

    def __post_init__(self):
        if self.fit not in FITS:
            raise ValueError(f"`fit` must be one of {FITS}. Received: fit={self.fit!r}.")
        if self.size is not None:
            pair = isinstance(self.size, tuple) and len(self.size) == 2
            if not pair or any(type(n) is not int or n < 1 for n in self.size):
                raise ValueError(f"`size` must be two positive ints. Received: {self.size!r}.")

    def fits(self, tensor: Tensor) -> bool:
        colours = len(tensor.shape) == 4 and tensor.shape[3] == 3
        sizes = tensor.shape[1:3]
        wanted = self.size or (None, None)
        return (
            colours
            and tensor.dtype in ("uint8", "float32")
            and (self.fit != NONE or None in sizes)
            and all(has in (None, want) or want is None
                    for has, want in zip(sizes, wanted, strict=True))
        )  # fmt: skip

    def read(self, cell):
        if isinstance(cell, np.ndarray):
            return cell
        if self.size is None or self.fit == NONE:
            return read_image(cell)
        return read_image(cell, self.size, self.fit)

    @property
    def drawn_size(self):
        return 32

    def draw(self, rng, tensor, count):
        return rng.integers(0, 256, self.drawn_shape(tensor, count)).astype(tensor.dtype)

    @classmethod
    def edge_sizes(cls, tensor):
        free = tensor.free_axes
        return [(1,) * len(free), *([LARGE] if len(free) == 2 else [])]

    def completed(self, shape):
        if self.fit == NONE or self.size is not None:
            return self
        return dataclasses.replace(self, size=(int(shape[0]), int(shape[1])))

    def words(self):
        return "an image"

    def fit_words(self) -> str:
        """How an image is brought to size, as a part of a sentence."""
        height, width = self.size or (0, 0)
        return WORDS[self.fit if self.size else NONE].format(height=height, width=width)
