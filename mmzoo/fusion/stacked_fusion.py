"""Late fusion: a small model that reads the predictions."""

import keras
import numpy as np
from keras import ops

from mmzoo.fusion.base import positive_int
from mmzoo.fusion.experts import ExpertFusion, log_probabilities, stacked


@keras.saving.register_keras_serializable(package="mmzoo")
class StackedFusion(ExpertFusion):
    """Stacked generalisation: a linear layer over all predictions and who made them.

    `s = [p_1 | ... | p_M | here_1 ... here_M]` with `p_m = log_softmax(logit_m)`, zeros where
    an expert is absent, and `here_m` 1 or 0; `logit = s @ A`, with `units` plus
    `relu(s @ B) @ C`. A starts as one identity matrix a `p_m`, with zeros for `here_m`, and C as
    zeros: at first the layer is the product of experts.

    Logits have no learned stand-in: which experts are absent is told by `here`, whose rows of A
    and B are also the only biases, one an expert. So with no expert present all logits are 0,
    also after training. A log-probability counts as no less than -1000.

    Args:
        units: Optional positive int. Width U of a hidden layer beside the linear one.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, classes)` of logits.
        presence: Optional dict of modality name to bool tensor `(batch,)`. With no expert
            present all classes are alike.

    Returns:
        Float tensor `(batch, classes)` of logits.

    Raises:
        ValueError: If `units < 1`, the dicts' keys differ, or the tensors are not 2D of one
            shape.

    Reference:
        Wolpert, 1992 (Stacked generalization). Differs: reads who is present, starts as the
        product of experts, and is trained by gradient, best on samples held out from the experts.

    Example:

    >>> import numpy as np
    >>> experts = {"image": np.log([[0.5, 0.5]]), "text": np.log([[0.8, 0.2]])}
    >>> print(np.exp(StackedFusion()(experts)).round(3))
    [[0.4 0.1]]
    """

    def __init__(self, units=None, **kwargs):
        super().__init__(**kwargs)
        self.units = units if units is None else positive_int("units", units)

    def build_experts(self, experts, classes):
        start = np.concatenate([np.eye(classes)] * experts + [np.zeros((experts, classes))])
        self.kernel = self.add_weight(
            shape=start.shape, initializer=lambda shape, dtype: ops.cast(start, dtype),
            name="kernel",
        )  # fmt: skip
        if self.units is not None:
            self.hidden_kernel = self.add_weight(
                shape=(len(start), self.units), name="hidden_kernel"
            )
            self.output_kernel = self.add_weight(
                shape=(self.units, classes), initializer="zeros", name="output_kernel"
            )

    def fuse(self, features, masks, presence, training):
        scores = log_probabilities(features)  # (batch, experts, classes)
        here = ops.cast(stacked(presence), scores.dtype)  # (batch, experts)
        scores = scores * ops.expand_dims(here, -1)
        experts, classes = scores.shape[1:]
        said = ops.concatenate([ops.reshape(scores, (-1, experts * classes)), here], axis=-1)
        fused = ops.matmul(said, self.kernel)
        if self.units is not None:
            hidden = ops.relu(ops.matmul(said, self.hidden_kernel))
            fused = fused + ops.matmul(hidden, self.output_kernel)
        return fused

    def get_config(self):
        return {**super().get_config(), "units": self.units}
