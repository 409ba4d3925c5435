"""Features: the named inputs of a model, by kind."""

from mmzoo.tasks.features.array import Array
from mmzoo.tasks.features.audio import Audio
from mmzoo.tasks.features.category import Category
from mmzoo.tasks.features.feature import Feature, TooLargeError
from mmzoo.tasks.features.image import Image
from mmzoo.tasks.features.number import Number
from mmzoo.tasks.features.text import Text

__all__ = ["Array", "Audio", "Category", "Feature", "Image", "Number", "Text", "TooLargeError"]
