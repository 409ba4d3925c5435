"""Training in which no modality outruns the others."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="mmzoo")
class TrueClassProbability(keras.metrics.MeanMetricWrapper):
    """Mean probability that is given to the right class.

    Args:
        from_logits: Bool. False: the predictions are probabilities already.
        name: Str.
        dtype: Optional dtype of the result.

    Call arguments:
        y_true: Int `(batch,)` or `(batch, 1)`, or one-hot `(batch, classes)`.
        y_pred: Float `(batch, classes)`.
        sample_weight: Optional `(batch,)`.

    Raises:
        ValueError: If `y_pred` is not `(batch, classes)` with two classes or more, or `y_true`
            does not fit.

    Example:

    >>> import numpy as np
    >>> metric = TrueClassProbability()
    >>> metric.update_state([0, 1], np.log([[0.7, 0.3], [0.5, 0.5]]))
    >>> round(float(metric.result()), 3)
    0.6
    """

    def __init__(self, from_logits=True, name="true_class_probability", dtype=None):
        super().__init__(_true_class_probability, name, dtype, from_logits=from_logits)
        self.from_logits = from_logits
        self._direction = "up"

    def get_config(self):
        return {"from_logits": self.from_logits, "name": self.name, "dtype": self.dtype}


def _true_class_probability(y_true, y_pred, from_logits):
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    if len(y_pred.shape) != 2 or y_pred.shape[-1] in (None, 1):
        raise ValueError(
            "Expected predictions of shape (batch, classes), two classes or more. "
            f"Received: shape {tuple(y_pred.shape)}."
        )
    classes = y_pred.shape[-1]
    y_pred = ops.cast(y_pred, "float32")
    probability = ops.softmax(y_pred) if from_logits else y_pred
    if len(y_true.shape) == 1 or tuple(y_true.shape[1:]) == (1,):
        y_true = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), classes)
    elif tuple(y_true.shape[1:]) != (classes,):
        raise ValueError(
            f"Expected labels of shape (batch,), (batch, 1) or (batch, {classes}). "
            f"Received: shape {tuple(y_true.shape)}."
        )
    return ops.sum(probability * ops.cast(y_true, "float32"), axis=-1)


class GradientModulation(keras.callbacks.Callback):
    """Slows down the encoders of the modalities that are ahead of the others.

    After every batch: `rho_m = score_m / mean of the other modalities' scores`, of that batch, and
    `scale_m = 1 - tanh(alpha * rho_m)` where `rho_m > 1`, else 1. The next step's gradients into
    the encoder of m are multiplied by `scale_m`. The epoch's mean of each is in its logs, as
    `<modality>_gradient_scale`; after training all scales are 1 again.

    What Keras logs after a batch is the mean since the epoch began. The batch's own score is taken
    from the metric behind the log: what its total grew by, over what its count grew by. That
    is right for batches of any size and for weighted samples, but for the rounding of the total.
    With `steps_per_execution` it is the mean of all the steps between two calls. Where a batch
    has no weight for a modality, the scales stay as they were.

    It acts most with SGD. Adam divides by the size of the gradient, which undoes a part of it.

    Args:
        scales: Dict of modality name to the `mmzoo.fusion.GradientScale` between its encoder and
            the fusion, two or more.
        scores: Dict of modality name to the name, in the logs, of a metric of the logits of the
            modality's own head: a `TrueClassProbability`, or another `keras.metrics.Mean` that is
            0 or more and larger for a modality that is ahead.
        alpha: Positive float. How much a modality that is ahead is slowed down.

    Raises:
        ValueError: If `scales` and `scores` are not of the same modalities or `alpha` is not
            positive; in `fit`, if a layer is not in the model, or a score is no such metric.

    Reference:
        Peng et al., 2022 (arXiv:2203.15332). Differs: without the Gaussian noise (GE) that the
        paper adds to the gradients; a batch's scales act on the next batch instead of on its own
        gradients; each modality has a head of its own, where the paper splits a joint one; each
        of more than two modalities is compared with the mean of the others.

    Example:

    >>> import numpy as np
    >>> from mmzoo.fusion import GradientScale
    >>> inputs = {name: keras.Input((4,), name=name) for name in ("image", "text")}
    >>> scales = {name: GradientScale() for name in inputs}
    >>> heads = {}
    >>> for name, tensor in inputs.items():
    ...     code = scales[name](keras.layers.Dense(8)(tensor))
    ...     heads[f"{name}_logits"] = keras.layers.Dense(3)(code)
    >>> joint = keras.layers.Add()(list(heads.values()))
    >>> model = keras.Model(inputs, {"joint": joint, **heads})
    >>> model.compile(
    ...     "sgd",
    ...     loss={"joint": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
    ...     metrics={head: TrueClassProbability(name="score") for head in heads},
    ... )
    >>> modulation = GradientModulation(scales, {m: f"{m}_logits_score" for m in scales})
    >>> x = {name: np.ones((2, 4)) for name in inputs}
    >>> y = dict.fromkeys(["joint", *heads], np.zeros(2))
    >>> history = model.fit(x, y, callbacks=[modulation], verbose=0).history
    >>> sorted(name for name in history if name.endswith("scale"))
    ['image_gradient_scale', 'text_gradient_scale']
    """

    def __init__(self, scales, scores, alpha=0.5):
        super().__init__()
        if set(scales) != set(scores) or len(scales) < 2:
            raise ValueError(
                "Expected `scales` and `scores` of the same modalities, two or more. "
                f"Received: {sorted(scales)} and {sorted(scores)}."
            )
        if not 0 < alpha < float("inf"):
            raise ValueError(f"`alpha` must be a positive float. Received: alpha={alpha}.")
        self.scales = dict(scales)
        self.scores = dict(scores)
        self.alpha = alpha

    def on_train_begin(self, logs=None):
        del logs
        known = {id(variable) for variable in self.model.variables}
        absent = sorted(m for m, layer in self.scales.items() if id(layer.scale) not in known)
        if absent:
            raise ValueError(
                "Expected `scales` with layers of the model that is trained. Received: others for "
                f"{absent}. Take them from the model, with `get_layer`."
            )
        self._metrics = None
        self._set(dict.fromkeys(self.scales, 1.0))

    def on_epoch_begin(self, epoch, logs=None):
        del epoch, logs
        self._before = dict.fromkeys(self.scales, (0.0, 0.0))  # `fit` has just reset the metrics
        self._epoch = []

    def on_train_batch_end(self, batch, logs=None):
        del batch, logs
        if self._metrics is None:  # not before: the first step makes them
            self._metrics = _mean_metrics(self.model, self.scores)
        self._epoch.append(self._current)  # what the batch was trained with
        scores = {}
        for name, metric in self._metrics.items():
            total, count = float(metric.total.numpy()), float(metric.count.numpy())
            total_before, count_before = self._before[name]
            self._before[name] = total, count
            if count > count_before:
                scores[name] = (total - total_before) / (count - count_before)
        if len(scores) == len(self.scales):
            self._set(modulation_scales(scores, self.alpha))

    def on_epoch_end(self, epoch, logs=None):
        del epoch
        for name in self.scales:
            mean = np.mean([scales[name] for scales in self._epoch])
            logs[f"{name}_gradient_scale"] = float(mean)

    def on_train_end(self, logs=None):
        del logs
        self._set(dict.fromkeys(self.scales, 1.0))

    def _set(self, values):
        for name, layer in self.scales.items():
            layer.set_scale(values[name])
        self._current = values


def modulation_scales(scores: dict[str, float], alpha: float) -> dict[str, float]:
    """The scale of each modality from the scores of all; the formula of `GradientModulation`."""
    if min(scores.values()) < 0:
        raise ValueError(
            f"Expected scores of 0 or more, which can be compared as a ratio. Received: {scores}."
        )
    scales = {}
    for name, score in scores.items():
        others = np.mean([other for key, other in scores.items() if key != name])
        # Nobody is right: equal. Only this one is: infinitely far ahead.
        ratio = score / others if others else (np.inf if score else 1.0)
        scales[name] = float(1 - np.tanh(alpha * ratio)) if ratio > 1 else 1.0
    return scales


def _mean_metrics(model, names):
    """Dict of modality to the metric that is logged under its name in `names`."""
    known: dict[str, keras.metrics.Metric] = {}
    for metric in model.metrics:
        if inner := getattr(metric, "metrics", None):  # one metric holds all those of `compile`
            known.update(zip(metric.result(), inner, strict=True))
        else:
            known[metric.name] = metric
    # Some kinds of Mean, like the root of a mean, make something else of total and count.
    mean = keras.metrics.Mean.result
    known = {name: each for name, each in known.items() if type(each).result is mean}
    missing = sorted(set(names.values()) - set(known))
    if missing:
        raise ValueError(
            "Expected `scores` to name metrics that `compile` got and that are means. "
            f"Received: {missing}; there are {sorted(known)}."
        )
    return {modality: known[name] for modality, name in names.items()}
