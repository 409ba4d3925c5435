"""Samples in an .npz file: of a user, or of a bundle."""

from pathlib import Path

import numpy as np

from mmzoo.export.samples.checks import LABELS
from mmzoo.export.samples.samples import NPZ_ERRORS, TARGET, Samples


def load_samples(path: Path, *, stored: bool = False) -> Samples:
    """Reads an .npz file: an array an input (`image` or `input/image`), maybe `labels` or
    `target/<name>`.

    A string `image_fit` in it says how its pictures were brought to size.

    Args:
        path: The file.
        stored: Whether it is a bundle's own, whose values were checked before.

    Raises:
        ValueError: If the file is missing, is no .npz archive, or its arrays are no samples.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such file of samples. Check the path.")
    arrays: dict = {}
    name = ""
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                short = name.removeprefix("input/")
                if short in arrays:
                    raise ValueError(f"it stands beside {short!r}, of the same input")
                arrays[short] = archive[name]
    except OSError as error:
        reason = (error.strerror or f"which NumPy can't read: {error}").lower()
        raise ValueError(
            f"Expected an .npz file of samples. Received: {path}, {reason}."
        ) from error
    except NPZ_ERRORS as error:
        raise ValueError(
            f"Expected an .npz file of samples. Received: {path}, "
            + f"whose array {name!r} " * bool(name) + "which " * (not name)
            + f"NumPy can't read: {error} Write it with np.savez(path, name=array, ...), arrays of "
            "numbers."
        ) from error  # fmt: skip
    texts = {n[5:]: arrays.pop(n) for n in list(arrays) if n.startswith("text/")}
    targets = {n.removeprefix(TARGET): arrays.pop(n) for n in list(arrays)
               if n == LABELS or n.startswith(TARGET)}  # fmt: skip
    fit = arrays.pop("image_fit", None)
    given = arrays.pop("given", None) if stored else None
    if fit is not None and (fit.ndim or fit.dtype.kind != "U"):
        raise ValueError(f"{path}: `image_fit` must be a string. Received: {fit.dtype}.")
    return Samples(
        arrays, targets, texts=texts, image_fit="" if fit is None else str(fit),
        path="" if stored else str(path), given=0 if given is None else int(given),
    )  # fmt: skip
