"""A tower of a trained model, and what a published one says of itself."""

import keras

from mmzoo.hub.contract import Contract, Input, Outputs

SAMPLE_RATE = 16_000  # Hz: what every waveform of mmzoo has
KINDS = {
    ("image", "uint8", 4): "image",
    ("text", "uint8", 2): "bytes",
    ("text", "string", 1): "string",
    ("audio", "float32", 2): "waveform",
}


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
    outputs = tower.output if isinstance(tower.output, dict) else {}
    found = [(t.name, t.dtype, len(t.shape)) for t in tower.inputs]
    if len(found) != 1 or found[0] not in KINDS or "pooled" not in outputs:
        raise ValueError(
            f"Expected a tower with one input of {sorted(KINDS)} (name, dtype, rank) and an output "
            f"'pooled'. Received: {found} to {sorted(outputs)}."
        )
    takes = tower.inputs[0]
    kind = KINDS[found[0]]
    shape = tuple(takes.shape)
    ranges = {"image": (0, 255), "waveform": (-1, 1)}
    described = Input(
        kind,
        takes.dtype,
        size=shape[1:3] if kind == "image" and None not in shape[1:3] else None,
        value_range=ranges.get(kind),
        sample_rate=SAMPLE_RATE if kind == "waveform" else None,
        max_length=shape[1] if kind in ("bytes", "waveform") else None,
    )
    places = [name if name in outputs else None for name in ("tokens", "mask")]
    return Contract(
        modality=takes.name,
        input=described,
        outputs=Outputs(outputs["pooled"].shape[-1], "pooled", *places),
        fine_tunable=bool(tower.weights),
        licence=licence,
    )
