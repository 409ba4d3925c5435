"""Late fusion: a weighted mean of the predicted probabilities."""

import keras
from keras import ops

from mmzoo.fusion.experts import ExpertFusion, log_mixture


@keras.saving.register_keras_serializable(package="mmzoo")
class WeightedFusion(ExpertFusion):
    """Convex combination of the experts' probabilities, with learned weights.

    `logit = log sum_m w_m softmax(logit_m)`, `w = softmax(scores)` over the experts that are
    present: where one is absent, the others keep their proportions. Scores start at 0, all
    weights alike. A single expert has weight 1, and nothing to learn.

    The result is a log-probability: its softmax is `sum_m w_m softmax(logit_m)` itself. The
    log-probability of an expert counts as no less than -1000.

    Call arguments:
        features: Dict of modality name to float tensor `(batch, classes)` of logits.
        presence: Optional dict of modality name to bool tensor `(batch,)`. An absent expert
            gets weight 0; with none present, all classes are alike.

    Returns:
        Float tensor `(batch, classes)` of logits.

    Raises:
        ValueError: If the dicts' keys differ, or the tensors are not 2D of one shape.

    Reference:
        Jacobs et al., 1991 (Adaptive mixtures of local experts). Differs: one weight an
        expert, the same for all samples (a linear opinion pool).

    Example:

    >>> import numpy as np
    >>> experts = {"image": np.log([[0.5, 0.5]]), "text": np.log([[0.9, 0.1]])}
    >>> print(np.exp(WeightedFusion()(experts)).round(3))
    [[0.7 0.3]]
    """

    def build_experts(self, experts, classes):
        # The softmax of one score is 1 whatever the score: it would be a weight without gradient.
        self.scores = None
        if experts > 1:
            self.scores = self.add_weight(shape=(experts,), initializer="zeros", name="scores")

    def fuse(self, features, masks, presence, training):
        alone = self.scores is None
        scores = (
            ops.zeros((1,), self.compute_dtype) if alone else ops.convert_to_tensor(self.scores)
        )
        return log_mixture(scores, features, presence)
