"""Which formats a bundle gets: those that were asked for, or those that the model can carry."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from mmzoo.export.bundle.formats import ALL, FIXED, FORMATS, PATHS, runtime_of

# What a writer raises for a model that it can't carry, or without a package that it needs.
REFUSALS = (ValueError, ImportError, RuntimeError)


def choose_formats(formats, quantize: dict) -> tuple[tuple, set]:
    """The formats to try, and those of them without which there is no bundle.

    Args:
        formats: Names: all of them must be made. None: `FORMATS`, or "all": `ALL`; then what the
            model can't carry is left out.
        quantize: See `export_bundle`; asks for "tflite-mixed".

    Raises:
        ValueError: If a name is unknown, or there is none.
    """
    mixed = ("tflite-mixed",) if quantize else ()
    if formats is None or formats == "all":
        return (*(FORMATS if formats is None else ALL), *mixed), set(mixed)
    if isinstance(formats, str):
        formats = formats.split(",")
    names = tuple(dict.fromkeys((*formats, *mixed)))
    if not names or not set(names) <= set(PATHS):
        raise ValueError(f"`formats` must be some of {tuple(PATHS)}. Received: {names}.")
    if "tflite-mixed" in names and not quantize:
        raise ValueError(
            "Expected `quantize` for 'tflite-mixed': a dict of tower to kind (--quantize "
            "image=int8,text=dynamic). Received: nothing."
        )
    return names, set(names)


def choose_kinds(quantize) -> dict[str, str]:
    """Returns the argument `quantize` of `export_bundle` as a dict.

    Raises:
        ValueError: If it is no dict.
    """
    if quantize is not None and not isinstance(quantize, Mapping):
        raise ValueError(
            "`quantize` must be a dict of a tower's name, or 'rest', to a kind: "
            f"quantize={{'image': 'int8'}}. Received: {quantize!r}. For one kind of the whole "
            "model name a format: formats=['tflite-int8', 'onnx-int8']."
        )
    return dict(quantize or {})


def needs_calibration(name: str, quantize: dict) -> bool:
    """Whether a format learns ranges from samples."""
    return name.endswith("-int8") or (name == "tflite-mixed" and "int8" in quantize.values())


_INSTEAD = f" {FIXED}, a file for one sample of one size, is in its place."


class Writing:
    """The formats of a bundle while they are written: what was made, and what was left out.

    Args:
        place: The bundle's folder.
        names: The formats to try, in order.
        asked: Those of them without which there is no bundle.

    Attributes:
        made: Names of the formats that were written.
        left_out: Dict of each other one to the reason.
    """

    def __init__(self, place: Path, names, asked):
        self.place, self.names, self.asked = place, names, asked
        self.made: list[str] = []
        self.left_out: dict[str, str] = {}
        self._first: Exception | None = None

    def write(self, write) -> None:
        """Calls `write(name)` for each format.

        Raises:
            ValueError, ImportError, RuntimeError: As `write` for a format that was asked for, or
                the first refusal if there is no other format either.
        """
        for name in self.names:
            base = runtime_of(name)
            if name not in self.asked and base != name != FIXED and base in self.left_out:
                self.left_out[name] = f"It is made of {base}, which was left out."
                continue
            self._try(name, write)
        # One sample of one size is what a loop over steps needs to become operators of TFLite.
        if "tflite" in self.left_out and FIXED not in self.names and self.made:
            why = self.left_out["tflite"]
            self._try(FIXED, write)
            if FIXED in self.made:
                self.left_out["tflite"] = why + _INSTEAD
            else:
                del self.left_out[FIXED]
        if not self.made and self._first is not None:
            raise self._first

    def _try(self, name, write):
        (self.place / PATHS[name]).parent.mkdir()
        try:
            write(name)
        except REFUSALS as error:
            if name in self.asked:
                raise
            self._first = self._first or error
            self._leave(name, f"{error}")
        else:
            self.made.append(name)

    def _leave(self, name, reason):
        self.left_out[name] = reason
        shutil.rmtree(self.place / PATHS[name].split("/")[0])

    def drop_breaches(self, manifest: dict, certificate: dict) -> None:
        """Takes formats whose answers differ out of a bundle, its manifest and certificate.

        Only those that nobody asked for, and only if another one holds.
        """
        entries = certificate["formats"]
        wrong = [name for name, entry in entries.items() if not entry["holds"]]
        if len(wrong) == len(entries) or set(wrong) & self.asked:
            return
        for name in wrong:
            words = entries.pop(name)["breaches"]
            del manifest["formats"][name]
            self.made.remove(name)
            if name == FIXED and name not in self.names:  # it was to stand for tflite
                self.left_out["tflite"] = self.left_out["tflite"].removesuffix(_INSTEAD)
            more = f"; and {len(words) - 3} more" * (len(words) > 3)
            self._leave(
                name, f"Its answers are not the Keras model's: {'; '.join(words[:3])}{more}."
            )
        certificate["holds"] = True
