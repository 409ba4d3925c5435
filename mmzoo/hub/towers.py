"""A tower of a trained model, and what a published one says of itself."""

import keras

from mmzoo.hub.contract import Contract, Input, Outputs

MODALITIES = ("image", "text", "audio")
SAMPLE_RATE = 16_000  # Hz: what every waveform of mmzoo has


def find_tower(model: keras.Model, name: str) -> keras.Model:
    """The encoder of one modality in a model: its layer `name_encoder`, or `name`.

    Raises:
        ValueError: If there is no such functional model among the layers.
    """
    towers = {each.name: each for each in model.layers if isinstance(each, keras.Model)}
    for known in (f"{name}_encoder", name):
        if known in towers:
            return towers[known]
    raise ValueError(
        f"Expected a tower, a functional model among the layers, named {name}_encoder or {name}. "
        f"Received a model with the towers {sorted(towers)}."
    )


def tower_contract(tower: keras.Model, licence: str = "") -> Contract:
    """What a tower takes and gives, read from its input and outputs.

    Raises:
        ValueError: If its input is none of an mmzoo encoder, or it has no output `pooled`.
    """
    takes = tower.inputs[0] if len(tower.inputs) == 1 else None
    shape = None if takes is None else tuple(takes.shape)
    known = {
        ("image", "uint8", 4): ("image", {"value_range": (0, 255)}),
        ("text", "uint8", 2): ("bytes", {}),
        ("text", "string", 1): ("string", {}),
        ("audio", "float32", 2): (
            "waveform", {"value_range": (-1, 1), "sample_rate": SAMPLE_RATE},
        ),
    }  # fmt: skip
    key = (takes.name, takes.dtype, len(shape)) if takes is not None else None
    outputs = tower.output if isinstance(tower.output, dict) else {}
    if key not in known or "pooled" not in outputs:
        raise ValueError(
            f"Expected a tower with one input of {sorted(known)} and an output 'pooled'. "
            f"Received: {[(t.name, t.dtype, t.shape) for t in tower.inputs]} to "
            f"{sorted(outputs)}."
        )
    kind, more = known[key]
    if kind == "image" and None not in shape[1:3]:
        more["size"] = shape[1:3]
    if kind in ("bytes", "waveform"):
        more["max_length"] = shape[1]
    places = {name: name for name in ("pooled", "tokens", "mask") if name in outputs}
    return Contract(
        modality=takes.name,
        input=Input(kind, takes.dtype, **more),
        outputs=Outputs(units=outputs["pooled"].shape[-1], **({"tokens": None} | places)),
        fine_tunable=bool(tower.weights),
        licence=licence,
    )
