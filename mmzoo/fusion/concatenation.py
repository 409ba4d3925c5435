"""Early fusion: features side by side."""

import keras
from keras import ops

from mmzoo.fusion.base import FusionLayer


@keras.saving.register_keras_serializable(package="mmzoo")
class Concatenation(FusionLayer):
    """Joins the vectors of all modalities, in sorted order of their names.

    `y = [x_1 | x_2 | ... | x_M]`. What Keras' `Concatenate` does, for a dict in any order, and
    with a learned vector in the place of an absent modality.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, D_m)`; one modality or more.
        presence: Optional dict of modality name to bool tensor `(batch,)`. An absent modality
            is one learned vector.

    Returns:
        Float tensor `(batch, sum_m D_m)`.

    Raises:
        ValueError: If the dicts' keys differ, or a tensor is not 2D.

    Reference:
        Baltrusaitis et al., 2017 (arXiv:1705.09406), early fusion. Differs: learned vectors
        for what is absent.

    Example:

    >>> import numpy as np
    >>> Concatenation()({"text": np.ones((2, 3)), "image": np.zeros((2, 1))}).numpy()[0].tolist()
    [0.0, 1.0, 1.0, 1.0]
    """

    takes = "vectors"
    returns = "vector"

    def fuse(self, features, masks, presence, training):
        return ops.concatenate([features[name] for name in self.modalities], axis=-1)

    def fused_shape(self, shapes):
        return (next(iter(shapes.values()))[0], sum(shape[-1] for shape in shapes.values()))
