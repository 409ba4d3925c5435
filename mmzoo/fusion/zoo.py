"""Every kind of fusion by its name, and a classifier around it that is as wide as one likes."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import keras
from keras import layers, ops

from mmzoo import fusion
from mmzoo.fusion.presence import presence_inputs

FAMILIES = ("early", "late", "intermediate", "attention")
LEARNED = ("early", "intermediate", "attention")  # they combine features, and learn how
HEADS = 2  # of every attention


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of fusion.

    Attributes:
        family: One of `FAMILIES`.
        layer: Function of the classifier's width to the `FusionLayer`.
        projection: Optional function of the classifier's width to the width that each vector
            is projected to before the fusion, of those that would grow too large with it.
    """

    family: str
    layer: Callable[[int], fusion.FusionLayer]
    projection: Callable[[int], int] | None = None


def _even(share):
    """A function of the classifier's width to a share of it that two heads can have."""
    return lambda width: max(HEADS, HEADS * round(share * width / HEADS))


def _attention(layer, share, **options):
    units = _even(share)
    return lambda width: layer(units(width), num_heads=HEADS, name="fusion", **options)


def _simple(layer, *arguments, **options):
    return lambda width: layer(*arguments, name="fusion", **options)


def _of_width(layer, **options):
    return lambda width: layer(width, name="fusion", **options)


KINDS: Mapping[str, Kind] = {
    "Concatenation": Kind("early", _simple(fusion.Concatenation)),
    **{
        f"ElementwiseFusion {mode}": Kind("early", _of_width(fusion.ElementwiseFusion, mode=mode))
        for mode in ("sum", "mean", "max", "product")
    },
    "TokenTransformer": Kind("early", _attention(fusion.TokenTransformer, 0.5, num_layers=2)),
    "MeanFusion logits": Kind("late", _simple(fusion.MeanFusion, "logits")),
    "MeanFusion probabilities": Kind("late", _simple(fusion.MeanFusion, "probabilities")),
    "WeightedFusion": Kind("late", _simple(fusion.WeightedFusion)),
    "LateFusion": Kind("late", _simple(fusion.LateFusion)),
    "StackedFusion": Kind("late", _simple(fusion.StackedFusion)),
    "MajorityFusion": Kind("late", _simple(fusion.MajorityFusion)),
    "GatedFusion": Kind("intermediate", _of_width(fusion.GatedFusion)),
    "FeatureModulation": Kind("intermediate", _of_width(fusion.FeatureModulation)),
    "TensorFusion": Kind("intermediate", _simple(fusion.TensorFusion), lambda width: 14),
    "LowRankFusion": Kind("intermediate", _of_width(fusion.LowRankFusion, rank=2)),
    "MultiplicativeInteraction": Kind(
        "intermediate", _of_width(fusion.MultiplicativeInteraction), lambda width: 24
    ),
    "BilinearPooling": Kind("intermediate", _of_width(fusion.BilinearPooling, rank=1)),
    "InteractiveAttention": Kind("attention", _attention(fusion.InteractiveAttention, 0.16)),
    "CrossAttention": Kind("attention", _attention(fusion.CrossAttention, 0.4)),
    "CoAttention": Kind("attention", _attention(fusion.CoAttention, 0.25, num_layers=1)),
    "BottleneckFusion": Kind(
        "attention", _attention(fusion.BottleneckFusion, 0.4, num_layers=2, num_bottlenecks=4)
    ),
    "PerceiverResampler": Kind(
        "attention", _attention(fusion.PerceiverResampler, 0.5, num_layers=2, num_latents=8)
    ),
    "MultimodalTransformer": Kind(
        "attention", _attention(fusion.MultimodalTransformer, 0.4, num_layers=1)
    ),
}


def build_kind(
    name: str,
    shapes: Mapping[str, tuple[int | None, int]],
    classes: int,
    width: int,
    *,
    dropout: float = 0.1,
    absent: float = 0.3,
) -> keras.Model:
    """Builds a classifier around one kind of fusion, from encoded features to logits.

    Every modality is normalised and loses some of its entries to dropout, then the fusion, then
    a classifier: normalisation, a hidden layer, dropout, logits. A late kind has a classifier a
    modality instead, an expert, and fuses their logits; these learn from a loss of their own,
    as no gradient of the fused logits reaches them.

    Args:
        name: One of `KINDS`.
        shapes: Dict of modality to `(tokens, width)` of its features.
        classes: Positive int.
        width: Positive int. Width of the classifier's hidden layer, and measure of all others.
        dropout: Float in [0, 1).
        absent: Float in [0, 1): how often a modality is taken away while training.

    Returns:
        Functional model. Inputs: a modality's tokens `(batch, tokens, width)` with its mask,
        bool `<modality>_mask` `(batch, tokens)`, or its pooled vector `(batch, width)`, as the
        fusion takes; and bool `<modality>_present` `(batch,)`. Outputs: `logits`
        `(batch, classes)`, and of a late kind those of each expert, `<modality>_logits`.

    Raises:
        ValueError: If there is no such kind.
    """
    if name not in KINDS:
        raise ValueError(f"`name` must be one of {list(KINDS)}. Received: name={name!r}.")
    kind = KINDS[name]
    layer = kind.layer(width)
    inputs, masks = {}, {}
    for modality, (tokens, size) in shapes.items():
        shape = (tokens, size) if layer.takes == "tokens" else (size,)
        inputs[modality] = keras.Input(shape, name=modality)
        if layer.takes == "tokens":
            masks[modality] = keras.Input((tokens,), dtype="bool", name=f"{modality}_mask")
    asked = presence_inputs(shapes)
    presence = fusion.PresenceDropout(absent, name="presence_dropout")(asked)
    features = {}
    for modality, x in inputs.items():
        x = layers.LayerNormalization(name=f"{modality}_norm")(x)
        features[modality] = layers.Dropout(dropout, name=f"{modality}_dropout")(x)
    outputs = {}
    if kind.family == "late":
        for modality, x in features.items():
            outputs[f"{modality}_logits"] = _classifier(x, classes, width, dropout, modality)
        said = {m: ops.stop_gradient(outputs[f"{m}_logits"]) for m in features}
        if name not in ("LateFusion", "StackedFusion"):  # they weigh the experts themselves
            said = fusion.TemperatureScaling(name="temperatures")(said, presence)
        outputs["logits"] = layer(said, presence=presence)
    else:
        if kind.projection is not None:
            features = {
                modality: layers.Dense(kind.projection(width), name=f"{modality}_projection")(x)
                for modality, x in features.items()
            }
        x = layer(features, masks=masks or None, presence=presence)
        if layer.returns == "tokens":
            x = layers.GlobalAveragePooling1D(name="fused_mean")(x)
        x = layers.LayerNormalization(name="fused_norm")(x)
        outputs["logits"] = _classifier(x, classes, width, dropout, "fused")
    inputs |= {f"{modality}_mask": mask for modality, mask in masks.items()}
    inputs |= {f"{modality}_present": here for modality, here in asked.items()}
    return keras.Model(inputs, outputs, name=name.replace(" ", "_"))


def build_alone(
    modality: str, size: int, classes: int, width: int, *, dropout: float = 0.1
) -> keras.Model:
    """Builds the classifier of one modality alone, just as an expert of a late kind.

    Args:
        modality: Name of the input.
        size: Positive int. Width of its pooled vector.
        classes: Positive int.
        width: Positive int. Width of the hidden layer.
        dropout: Float in [0, 1).

    Returns:
        Functional model: `{modality: (batch, size)}` to `{"logits": (batch, classes)}`.
    """
    vector = keras.Input((size,), name=modality)
    x = layers.LayerNormalization(name=f"{modality}_norm")(vector)
    x = layers.Dropout(dropout, name=f"{modality}_dropout")(x)
    logits = _classifier(x, classes, width, dropout, modality)
    return keras.Model({modality: vector}, {"logits": logits}, name=f"{modality}_alone")


def _classifier(x, classes, width, dropout, name):
    x = layers.Dense(width, activation="relu", name=f"{name}_hidden")(x)
    x = layers.Dropout(dropout, name=f"{name}_hidden_dropout")(x)
    return layers.Dense(classes, name=f"{name}_logits")(x)


def trainable_parameters(model: keras.Model) -> int:
    """How many numbers training changes."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def fit_width(build: Callable[[int], keras.Model], parameters: int, most: int = 4096) -> int:
    """The width at which a model's trainable parameters come nearest to a number.

    Args:
        build: Function of a width to a model that grows with it.
        parameters: Positive int.
        most: Positive int. Largest width to try.

    Returns:
        The width, by bisection.

    Raises:
        ValueError: If the model of the largest width is still too small.
    """
    sizes: dict[int, int] = {}

    def size(width):
        if width not in sizes:
            sizes[width] = trainable_parameters(build(width))
        return sizes[width]

    low, high = 1, 2
    while size(high) < parameters:
        low, high = high, 2 * high
        if low >= most:
            raise ValueError(
                f"Expected a model that reaches {parameters} parameters at a width of {most}. "
                f"Received: one of {size(low)} parameters. Ask for fewer."
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle) < parameters else (low, middle)
    return min((low, high), key=lambda width: abs(size(width) - parameters))
