"""How a picture of any size is brought to the size that a model takes: part of its contract.

Kept in the manifest as `image_fit`: a dict of the name of each picture input to `fit`, one of
`FITS`, and `size`, `[height, width]` in pixels, or None with "none".
"""

import dataclasses

from mmzoo.data.media.images import IMAGE_FIT, IMAGE_FITS

NONE = "none"  # a picture keeps its own size
FITS = (*IMAGE_FITS, NONE)
CONCEPTS_FIT = "pad"  # icons, which Concept-128 has on white
WORDS = {
    "stretch": "scaled to {height} x {width}, whatever its proportions",
    "pad": "scaled to fit into {height} x {width} in its proportions, centred on white",
    "crop": "cut to the proportions of {height} x {width} around its middle, and scaled to it",
    NONE: "as it is, in its own size",
}


@dataclasses.dataclass(frozen=True)
class ImageFit:
    """How a picture is brought to size.

    Attributes:
        fit: One of `FITS`.
        size: Height and width in pixels; None where a picture keeps its own size.
    """

    fit: str = NONE
    size: tuple[int, int] | None = None

    def words(self) -> str:
        """What happens to a picture, as a part of a sentence."""
        height, width = self.size or (0, 0)
        return WORDS[self.fit].format(height=height, width=width)


def is_picture(tensor: dict) -> bool:
    """Whether an input, as JSON, takes pictures: uint8 `(batch, height, width, 3)`, or any of
    three colours that is called `image`."""
    shape = tensor["shape"]
    colours = len(shape) == 4 and shape[3] == 3
    return colours and (tensor["dtype"] == "uint8" or tensor["name"] == "image")


def choose_fit(fit: str | None, of_samples: str, concepts: bool) -> str:
    """The fit of a bundle.

    Args:
        fit: What was asked for, or None.
        of_samples: How the samples' pictures were brought to size, or "" where that is not known.
        concepts: Whether the samples are those of Concept-128.

    Returns:
        `fit`; else that of the samples; else "pad" of Concept-128; else "stretch", as
        `keras.utils.image_dataset_from_directory`, `load_manifest` and `tf.image.resize` do.

    Raises:
        ValueError: If there is no such fit, or the samples were made with another.
    """
    for given in (fit, of_samples):
        if given and given not in FITS:
            raise ValueError(f"`image_fit` must be one of {FITS}. Received: image_fit={given!r}.")
    if fit and of_samples and fit != of_samples:
        raise ValueError(
            f"`image_fit` must be that of the samples, {of_samples!r}. Received: "
            f"image_fit={fit!r}. Leave it out, or make the samples' pictures with {fit!r}."
        )
    return fit or of_samples or (CONCEPTS_FIT if concepts else IMAGE_FIT)


def describe_image_fit(inputs: list[dict], shapes: dict, fit: str) -> dict:
    """The manifest's `image_fit`.

    Args:
        inputs: As in the manifest.
        shapes: Dict of input name to a sample's shape. An input that takes any size gets the
            samples', on which the model was verified, unless the fit is "none".
        fit: One of `FITS`.

    Raises:
        ValueError: If it is "none" and an input takes one size alone.
    """
    described = {}
    for tensor in (t for t in inputs if is_picture(t)):
        fixed = None not in tensor["shape"][1:3]
        if fit == NONE and fixed:
            raise ValueError(
                f'`image_fit="none"` is for a model that takes pictures of any size. Received: '
                f"{tensor['name']!r} of shape {list(tensor['shape'])}. Choose one of {IMAGE_FITS}."
            )
        size = None if fit == NONE else list(shapes[tensor["name"]][:2])
        described[tensor["name"]] = {"fit": fit, "size": size}
    return described


def fit_of(manifest: dict, name: str = "image") -> ImageFit:
    """How the pictures of an input are brought to size; as they are if it takes none."""
    entry = manifest["image_fit"].get(name, {"fit": NONE, "size": None})
    return ImageFit(entry["fit"], entry["size"] and (entry["size"][0], entry["size"][1]))


def check_image_fit(manifest: dict) -> None:
    """Raises ValueError unless a manifest's `image_fit` fits its inputs."""
    pictures = {t["name"]: t["shape"][1:3] for t in manifest["inputs"] if is_picture(t)}
    if set(manifest["image_fit"]) != set(pictures):
        raise ValueError("it does not say how each picture is brought to size")
    for name, entry in manifest["image_fit"].items():
        fit, size = entry["fit"], entry["size"]
        whole = isinstance(size, list) and len(size) == 2
        if fit not in FITS or (fit == NONE) is not (size is None) or (size and not whole):
            raise ValueError(f"it brings {name!r} to size by {fit!r}, {size!r}")
        if fit == NONE and None not in pictures[name]:
            raise ValueError(f"{name!r} takes one size alone, and its pictures keep their own")
        for wanted, actual in zip(pictures[name], size or (), strict=False):
            if type(actual) is not int or actual < 1 or wanted not in (None, actual):
                raise ValueError(f"it brings {name!r} to the size {size!r}")
