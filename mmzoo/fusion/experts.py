"""What the late fusion layers share: experts of the same classes, and their mixture."""

from keras import ops

from mmzoo.fusion.base import FusionLayer
from mmzoo.fusion.explanation import asked, note_weights

# The least log-probability of a class. Its exponential is 0 in every dtype, and a sum of sixty
# of them is still finite in float16.
LEAST = -1e3
# Log-weight of an absent expert: beside it, a present one at `LEAST` is infinitely more likely.
NONE = -1e4


class ExpertFusion(FusionLayer):
    """A fusion of logits for the same classes; `build_experts` makes a subclass's weights."""

    takes = "logits"
    returns = "logits"

    def build_fusion(self, widths):
        if len(set(widths.values())) != 1:
            raise ValueError(
                "Expected logits of one shape (batch, classes) for every modality. "
                f"Received: {widths} classes."
            )
        self.build_experts(len(widths), next(iter(widths.values())))

    def build_experts(self, experts: int, classes: int) -> None:
        """Makes the weights."""

    def fused_shape(self, shapes):
        return next(iter(shapes.values()))


def stacked(tensors):
    """The tensors of a dict, in sorted order: `(batch, experts, ...)`."""
    return ops.stack([tensors[name] for name in sorted(tensors)], axis=1)


def log_probabilities(features):
    """Log-softmax of all experts, `(batch, experts, classes)`, no less than `LEAST`."""
    return ops.maximum(ops.log_softmax(stacked(features), axis=-1), LEAST)


def mean_of_present(values, presence):
    """Mean over the experts that are present; 0 where there is none.

    Args:
        values: Float `(batch, experts, classes)`.
        presence: Dict of bool `(batch,)`.
    """
    here = ops.expand_dims(ops.cast(stacked(presence), values.dtype), -1)
    return ops.sum(here * values, axis=1) / ops.maximum(ops.sum(here, axis=1), 1.0)


def log_mixture(scores, features, presence):
    """`log sum_m w_m softmax(logit_m)`, `w` the softmax of the scores of present experts.

    All in logarithms, so that no probability is lost to underflow. With no expert present,
    each has the same weight and, as its logits are 0, each class the same probability.

    Args:
        scores: Float tensor `(experts,)`.
        features: Dict of logits `(batch, classes)`, 0 where absent.
        presence: Dict of bool `(batch,)`.
    """
    weights = ops.where(stacked(presence), scores, ops.cast(NONE, scores.dtype))
    weights = ops.expand_dims(ops.log_softmax(weights, axis=-1), -1)  # (batch, experts, 1)
    if asked():
        note_weights(sorted(features), ops.exp(weights[..., 0]))
    terms = weights + log_probabilities(features)
    top = ops.stop_gradient(ops.max(terms, axis=1, keepdims=True))
    return ops.log(ops.sum(ops.exp(terms - top), axis=1)) + ops.squeeze(top, 1)
