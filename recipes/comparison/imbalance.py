"""The bake-off's second question: does one modality keep the others from learning?"""

import keras
import numpy as np
from keras import layers, ops

from mmzoo import fusion, training
from mmzoo.recipes.comparison.results import interval
from mmzoo.training.features import accuracy_of, fit_features, start_again

UNITS = 128
ABOUT = (
    "Projections of all modalities, Concatenation and a classifier, trained together by SGD. "
    "A modality alone: a linear probe of its projection, whose own loss the projection does not "
    "feel."
)
ROWS = {"joint training": None, "with gradient modulation": 0.5}  # alpha


def build_joint(sizes, classes):
    """Returns a model that trains projections through their fusion, with a probe of each.

    Args:
        sizes: Dict of modality to the width of its vector.
        classes: Positive int.
    """
    inputs, scaled, outputs = {}, {}, {}
    for m, size in sizes.items():
        inputs[m] = keras.Input((size,), name=m)
        x = layers.LayerNormalization(name=f"{m}_norm")(inputs[m])
        x = layers.Dense(UNITS, activation="relu", name=f"{m}_projection")(x)
        scaled[m] = fusion.GradientScale(name=f"{m}_scale")(x)
        outputs[f"{m}_logits"] = layers.Dense(classes, name=f"{m}_logits")(ops.stop_gradient(x))
    x = fusion.Concatenation(name="fusion")(scaled)
    x = layers.Dense(UNITS, activation="relu", name="hidden")(x)
    outputs["logits"] = layers.Dense(classes, name="logits")(x)
    return keras.Model(inputs, outputs, name="joint")


def compare_joint_training(task, seeds):
    """Returns what `bakeoff.json` holds of it: the same seeds with and without modulation."""
    sizes = {m: vector.shape[1] for m, vector in task.train.vectors.items()}
    model = build_joint(sizes, task.classes)
    steps = task.budget["steps"]
    rate = keras.optimizers.schedules.CosineDecay(
        1e-3, steps, warmup_target=0.1, warmup_steps=max(1, steps // 10)
    )
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    metrics = {f"{m}_logits": [training.TrueClassProbability(name="sure")] for m in sizes}
    rows = []
    for name, alpha in ROWS.items():
        callbacks = []
        if alpha is not None:
            scales = {m: model.get_layer(f"{m}_scale") for m in sizes}
            scores = {m: f"{m}_logits_sure" for m in sizes}
            callbacks = [training.GradientModulation(scales, scores, alpha=alpha)]
        found: dict[str, list] = {output: [] for output in model.output}
        for seed in range(seeds):
            keras.utils.set_random_seed(seed)
            start_again(model, build_joint(sizes, task.classes))
            fit_features(
                model, task.train, seed=seed, optimizer=optimizer, callbacks=callbacks,
                metrics=metrics, **task.budget,
            )  # fmt: skip
            for output, values in found.items():
                values.append(accuracy_of(model, task.test, output=output))
        alone = {m: float(np.mean(found[f"{m}_logits"])) for m in sizes}
        rows.append({"name": name, "accuracy": interval(found["logits"]), "modalities": alone})
    return {"about": ABOUT, "rows": rows}
