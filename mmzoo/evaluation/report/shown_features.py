"""The features of a sample as a report shows them, by kind."""

import numpy as np

from mmzoo.data import decode_text
from mmzoo.evaluation.report.figures import picture, sound
from mmzoo.evaluation.report.values import shown_number
from mmzoo.tasks import Audio, Category, Number, Task
from mmzoo.tasks.tensors import Tensor

ABSENT = {"image": "no picture", "text": "no text", "audio": "no sound"}


def check_inputs(task: Task, inputs: dict) -> None:
    """Raises ValueError unless each input is an array of its feature."""
    known = {feature.name: feature for feature in task.features}
    for name, value in inputs.items():
        if name not in known:
            raise ValueError(f"`inputs` must be among {list(known)}. Received: {name!r}.")
        kind = "string" if value.dtype.kind in "SUO" else value.dtype.name
        feature = known[name]
        tensor = Tensor(name, kind, (None, *value.shape[1:]), kind=feature.kind)
        if not feature.fits(tensor):
            raise ValueError(
                f"`inputs[{name!r}]` must hold {feature.words()} a sample. Received: {value.dtype} "
                f"of shape {value.shape}."
            )


def shown_features(task: Task, inputs: dict, row: int) -> list[dict]:
    """Each feature of a sample: `kind`, `name`, and by kind `image` (a data address), `text`,
    `sound`, or `value`; None where it is absent, which `absent` says in words."""
    found = []
    for feature in task.features:
        if feature.name not in inputs:
            continue
        value = inputs[feature.name][row]
        shown: dict = dict.fromkeys(("image", "text", "sound", "value"))
        shown |= {"kind": feature.kind, "name": feature.name}
        if feature.kind == "image":
            shown["image"] = picture(np.asarray(value, "uint8"))
        elif feature.kind == "text":
            shown["text"] = _text(value)
        elif isinstance(feature, Audio):
            shown["sound"] = sound(value, feature.sample_rate)
        elif isinstance(feature, Category):
            shown["value"] = ("unknown", *feature.values)[int(np.ravel(value)[0])]
        elif isinstance(feature, Number):
            number = float(np.ravel(value)[0])
            shown["value"] = "missing" if np.isnan(number) else shown_number(number)
            shown["value"] += f" {feature.unit}" * bool(feature.unit)
        else:
            shown["value"] = f"{value.dtype} of shape {list(value.shape)}"
        shown["absent"] = ABSENT.get(feature.kind, "")
        found.append(shown)
    return found


def _text(value):
    if isinstance(value, np.ndarray) and value.dtype == "uint8":
        return decode_text(value[None])[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
