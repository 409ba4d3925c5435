"""Late fusion: the mean of the predictions."""

import keras
from keras import ops

from mmzoo.fusion.experts import ExpertFusion, log_mixture, log_probabilities, mean_of_present

KINDS = ("logits", "probabilities")


@keras.saving.register_keras_serializable(package="mmzoo")
class MeanFusion(ExpertFusion):
    """Mean over the experts that are present. No weights.

    Of logits, the geometric mean: `logit = mean_m log_softmax(logit_m)`; one expert that is
    sure against a class can veto it. Of probabilities, the arithmetic mean:
    `logit = log mean_m softmax(logit_m)`; one expert can't. A log-probability counts as no
    less than -1000.

    Args:
        of: "logits" or "probabilities".

    Call arguments:
        features: Dict of modality name to float tensor `(batch, classes)` of logits.
        presence: Optional dict of modality name to bool tensor `(batch,)`. The mean is over
            the present experts; with none, all classes are alike.

    Returns:
        Float tensor `(batch, classes)` of logits.

    Raises:
        ValueError: If `of` is neither, the dicts' keys differ, or the tensors are not 2D of
            one shape.

    Reference:
        Kittler et al., 1998 (On combining classifiers), the product and the sum rule.
        Differs: the mean's logarithm, and means over those present.

    Example:

    >>> import numpy as np
    >>> experts = {"image": np.log([[0.5, 0.5]]), "text": np.log([[0.9, 0.1]])}
    >>> print(np.exp(MeanFusion("probabilities")(experts)).round(3))
    [[0.7 0.3]]
    """

    def __init__(self, of="logits", **kwargs):
        super().__init__(**kwargs)
        if of not in KINDS:
            raise ValueError(f"`of` must be one of {KINDS}. Received: of={of!r}.")
        self.of = of

    def fuse(self, features, masks, presence, training):
        if self.of == "logits":
            return mean_of_present(log_probabilities(features), presence)
        alike = ops.zeros((len(self.modalities),), dtype=self.compute_dtype)
        return log_mixture(alike, features, presence)

    def get_config(self):
        return {**super().get_config(), "of": self.of}
