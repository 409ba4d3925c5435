"""Training on encoded features that stay in memory: seconds a model."""

import dataclasses
import functools
from collections.abc import Collection, Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf

from mmzoo.fusion.presence import SUFFIX


@dataclasses.dataclass(frozen=True)
class Features:
    """What encoders made of samples, by modality, and the samples' labels.

    Attributes:
        tokens: Dict of modality to float `(samples, tokens, width)`.
        masks: Dict of modality to bool `(samples, tokens)`, True where a token is real.
        vectors: Dict of modality to float `(samples, width)`, the pooled ones.
        labels: Int `(samples,)`.
    """

    tokens: Mapping[str, np.ndarray]
    masks: Mapping[str, np.ndarray]
    vectors: Mapping[str, np.ndarray]
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    @property
    def modalities(self) -> list[str]:
        return list(self.vectors)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Dict of modality to the shape of its tokens, `(tokens, width)`."""
        return {name: tokens.shape[1:] for name, tokens in self.tokens.items()}

    @functools.cached_property
    def _tensors(self) -> dict[int, tf.Tensor]:
        """The arrays by their ids, copied to TensorFlow once for all that is trained on them."""
        arrays = [*self.tokens.values(), *self.masks.values(), *self.vectors.values(), self.labels]
        return {id(array): tf.constant(array) for array in arrays}

    def as_tensor(self, array: np.ndarray) -> tf.Tensor:
        """A tensor of one of these arrays, always the same, or of another one."""
        return self._tensors[id(array)] if id(array) in self._tensors else tf.constant(array)

    def inputs_of(
        self, model: keras.Model, present: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """What a model of `mmzoo.fusion.zoo` takes of these samples.

        Args:
            model: Functional model: of a modality it takes tokens, an input of rank 3, and their
                `<modality>_mask`, or a vector; and it may take `<modality>_present`.
            present: Modalities that are there; None: all.

        Returns:
            Dict of input name to array.

        Raises:
            ValueError: If there is no such modality.
        """
        present = self.modalities if present is None else present
        taken = {}
        for tensor in model.inputs:
            name = tensor.name.removesuffix("_mask").removesuffix(SUFFIX)
            if name not in self.vectors:
                raise ValueError(
                    f"Expected inputs of the modalities {self.modalities}. Received: a model that "
                    f"takes {tensor.name!r}."
                )
            if tensor.name == name:
                taken[name] = (self.tokens if len(tensor.shape) == 3 else self.vectors)[name]
            elif tensor.name == name + SUFFIX:
                taken[tensor.name] = np.full(len(self), name in present)
            else:
                taken[tensor.name] = self.masks[name]
        return taken


def encode(
    encoder: keras.Model, batches: Iterable[tuple[Mapping[str, np.ndarray], np.ndarray]]
) -> Features:
    """Runs an encoder over batches, once.

    Args:
        encoder: Model of raw inputs to a dict of `<modality>_tokens`, `<modality>_mask` and
            `<modality>_pooled`.
        batches: Pairs of what the encoder takes, and labels.

    Returns:
        The `Features`; the floats as float16, to half the memory.
    """
    run = tf.function(lambda inputs: encoder(inputs, training=False), autograph=False)
    found: dict[str, list] = {name: [] for name in encoder.output}
    labels = []
    for inputs, label in batches:
        encoded = run({name: tf.convert_to_tensor(value) for name, value in inputs.items()})
        for name, value in encoded.items():
            value = value if value.dtype == tf.bool else tf.cast(value, tf.float16)
            found[name].append(value.numpy())
        labels.append(np.asarray(label))

    def of(part):
        return {
            name.removesuffix(part): np.concatenate(values)
            for name, values in found.items()
            if name.endswith(part)
        }

    return Features(of("_tokens"), of("_mask"), of("_pooled"), np.concatenate(labels))


def start_again(model: keras.Model, fresh: keras.Model) -> None:
    """Gives a model the weights and seeds of a new one, and forgets what its optimizer knows.

    The training step that was traced for the model stays: tracing takes longer than training.

    Args:
        model: Any model.
        fresh: One that was built the same way.
    """
    for old, new in zip(model.variables, fresh.variables, strict=True):
        old.assign(new)
    for variable in model.optimizer.variables if model.compiled else ():
        if variable.name != "learning_rate":
            variable.assign(keras.ops.zeros_like(variable))


def fit_features(
    model: keras.Model,
    features: Features,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    optimizer: keras.optimizers.Optimizer | None = None,
    callbacks: Collection[keras.callbacks.Callback] = (),
    metrics: Mapping[str, Collection] | None = None,
) -> None:
    """Trains every output of a model as logits of the labels.

    Cross-entropy with label smoothing 0.1. Each output has a loss of its own, all of one weight.

    Args:
        model: As `Features.inputs_of` takes it, with a dict of logits as outputs. It is compiled
            if it isn't yet.
        features: Training samples.
        steps: Positive int. More than there are samples for begin with the samples again.
        batch_size: Positive int.
        seed: Int, of the order of the samples.
        optimizer: None: AdamW, its rate a cosine from 3e-3 to 0 behind a warm-up.
        callbacks: As `fit` takes them.
        metrics: As `compile` takes them.
    """
    if not model.compiled:
        rate = keras.optimizers.schedules.CosineDecay(
            1e-5, steps, warmup_target=3e-3, warmup_steps=max(1, min(60, steps // 10))
        )
        model.compile(
            optimizer=optimizer or keras.optimizers.AdamW(rate, weight_decay=0.02),
            loss=dict.fromkeys(
                model.output,
                keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
            ),
            metrics=metrics,
            jit_compile=False,  # on processors XLA takes minutes to compile attention
        )
    taken = features.inputs_of(model)
    inputs = {name: features.as_tensor(array) for name, array in taken.items()}
    labels = features.as_tensor(features.labels)
    classes = next(iter(model.output.values())).shape[-1]

    def gather(rows):
        one_hot = tf.one_hot(tf.gather(labels, rows), classes)
        taken = {name: tf.gather(value, rows) for name, value in inputs.items()}
        return taken, dict.fromkeys(model.output, one_hot)

    rng = np.random.default_rng(seed)
    rounds = -(-steps * batch_size // len(features))
    order = np.concatenate([rng.permutation(len(features)) for _ in range(rounds)])
    batches = tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder=True)
    batches = batches.take(steps).map(gather).prefetch(2)
    model.fit(batches, epochs=1, shuffle=False, callbacks=list(callbacks), verbose=0)


def accuracy_of(
    model: keras.Model,
    features: Features,
    present: Collection[str] | None = None,
    output: str = "logits",
) -> float:
    """Share of samples whose largest logit is the label, with some modalities present.

    Raises:
        ValueError: If a logit is not finite.
    """
    predicted = model.predict(features.inputs_of(model, present), batch_size=256, verbose=0)
    logits = predicted[output]
    if not np.isfinite(logits).all():
        raise ValueError(
            f"Expected finite logits. Received: {np.size(logits) - np.isfinite(logits).sum()} of "
            f"{logits.size} that are not, of {model.name}. Look at its loss while training."
        )
    return float(np.mean(logits.argmax(-1) == features.labels))
