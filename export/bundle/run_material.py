"""What a run's bundle was made of, for another export of the same model."""

from pathlib import Path

import numpy as np

from mmzoo.export.bundle.manifest import load_bundle
from mmzoo.export.certify.verification import stored_samples
from mmzoo.export.samples.calibration import CALIBRATION, calibration_breaches
from mmzoo.export.samples.samples import Samples
from mmzoo.tasks import Task


def run_material(model: Path) -> dict:
    """The task, samples and calibration of the bundle that stands beside a run's model.

    Args:
        model: Path of a `.keras` file, as `build/demo/model.keras`.

    Returns:
        `task`, `samples` and `calibration` as `export_bundle` takes them. Empty where there is no
        bundle beside the model, or it is of another model.

    Raises:
        ValueError: If there is one that can't be read, or whose samples were changed.
    """
    folder = Path(model).parent / "bundle"
    if not (folder / "manifest.json").is_file():
        return {}
    bundle = load_bundle(folder)
    samples = stored_samples(folder, bundle.manifest)
    calibration = None
    if "calibration" in bundle.manifest:
        breaches = calibration_breaches(folder, bundle.manifest, samples)
        if breaches:
            raise ValueError(f"{folder}: {'; '.join(breaches)}. Train again, or pass --samples.")
        with np.load(folder / CALIBRATION, allow_pickle=False) as archive:
            inputs = {name.removeprefix("input/"): archive[name] for name in archive.files}
        calibration = Samples(inputs, source=bundle.manifest["calibration"]["source"])
    return {
        "task": Task.from_json(bundle.manifest["task"]),
        "samples": samples,
        "calibration": calibration,
    }
