"""What is run of an artifact, and which rows are then compared with what."""

import dataclasses

import numpy as np

from mmzoo.export.certify.comparison import usual_scale
from mmzoo.export.certify.edge_cases.other_sizes import is_large, other_sizes
from mmzoo.export.certify.edge_cases.probe_rows import draw_probes
from mmzoo.export.certify.edge_cases.subsets import draw_subsets
from mmzoo.export.samples.samples import BATCHES, Samples, as_strings
from mmzoo.tasks.tensors import Tensor

PROBES = "probes"
UNSTEADY = "unsteady probes"
SMALL_RUN = 51  # samples for batches 1 and 3; the largest batch runs over all


@dataclasses.dataclass(frozen=True)
class Line:
    """One comparison.

    Attributes:
        run: Index of the run's outputs.
        name: What the certificate calls it: "samples", a size ("short", "image 1x1"), "subsets"
            for all of them, or one subset ("image+text"), "probes", or "unsteady probes".
        batch: Samples a call.
        reference: Key of the reference answers.
        count: How many rows the run has, the first of the reference.
        rows: Indices of those that are compared.
        origin: Which of the samples these are; None if the labels are not theirs.
        large: Whether a difference is stated, and no breach: see `other_sizes.is_large`.
    """

    run: int
    name: str
    batch: int
    reference: str
    count: int
    rows: np.ndarray
    origin: np.ndarray | None = None
    large: bool = False

    @property
    def by_row(self) -> bool:
        """Whether each row is held to its own scale."""
        return self.reference == PROBES

    def usual(self, reference: dict, output: str) -> float | None:
        """The scale of an output's answers to the samples, which no row's is below; else None."""
        return usual_scale(reference["samples"][output]) if self.by_row else None

    def pick(self, actual: np.ndarray, reference: dict, output: str):
        """The rows to compare, of the run and of the reference.

        All of them where the run has not as many as it should: these never compare as equal.
        """
        expected = reference[self.reference][output][: self.count]
        if len(actual) != self.count:
            return actual, expected
        return actual[self.rows], expected[self.rows]


def plan_checks(
    samples: Samples,
    inputs: list[Tensor],
    reference: dict,
    strings: bool,
    fixed: bool = False,
    refused=(),
    probes: dict | None = None,
):
    """Every run of one signature, and every comparison.

    Args:
        samples: What `Samples.fit` returned for `inputs`.
        inputs: The model's inputs.
        reference: See `certificate.certify`.
        strings: Whether the signature takes strings where the model takes token ids.
        fixed: Whether it takes one sample of the samples' size and nothing else.
        refused: Names of the sizes that Keras itself does not run.
        probes: What `answer_probes` says of the probe rows. None: they are not run.

    Returns:
        `plan` and `further`, as `run_artifact` takes them, and a list of `Line`.

    Raises:
        ValueError: If there are no answers for the subsets of a model that takes presence, for
            a size that Keras did not refuse, or for the probe rows.
    """
    largest = 1 if fixed else BATCHES[-1]
    plan = [(batch, min(SMALL_RUN, len(samples))) for batch in BATCHES[:-1] if not fixed]
    plan.append((largest, len(samples)))
    lines = []
    for k, (batch, count) in enumerate(plan):
        rows = np.arange(count)
        lines.append(Line(k, "samples", batch, "samples", count, rows, rows))
    further: list[tuple[dict, int]] = []

    def run(values, batch):
        further.append((values, batch))
        return len(plan) + len(further) - 1, len(next(iter(values.values())))

    # Token ids cut to another length are those of no text: strings have no such samples.
    for key, values in {} if strings or fixed else other_sizes(samples, inputs).items():
        if key in reference:
            batch = min(3, len(next(iter(values.values()))))
            place, count = run(values, batch)
            rows, large = np.arange(count), is_large(samples, values)
            lines.append(Line(place, key, batch, key, count, rows, large=large))
        elif key not in refused:
            raise ValueError(
                f"Expected reference answers of the size {key!r}. Received none. "
                "Export the model again."
            )
    if probes is not None:
        batches = [largest] if fixed else [1, largest]
        plan_probes(lines, run, batches, samples, inputs, reference, strings, probes)
    subsets = draw_subsets(samples, inputs)
    if subsets is None:
        return plan, further, lines
    if "subsets" not in reference:
        raise ValueError(
            "Expected reference answers for every subset of the modalities, which the model's "
            "presence inputs promise. Received none. Export the model again."
        )
    spoilt = subsets.spoilt.inputs | (subsets.spoilt.texts if strings else {})
    if not fixed:
        place, count = run({name: value[:SMALL_RUN] for name, value in spoilt.items()}, 1)
        rows = np.arange(count)
        lines.append(Line(place, "subsets", 1, "subsets", count, rows, subsets.origin[rows]))
    place, count = run(spoilt, largest)
    for name, rows in subsets.rows.items():
        lines.append(Line(place, name, largest, "subsets", count, rows, subsets.origin[rows]))
    return plan, further, lines


def plan_probes(lines, run, batches, samples, inputs, reference, strings, said):
    """Adds the probe rows: each alone, and all in batches with unchanged samples."""
    drawn = draw_probes(samples, inputs).without(said["reasons"])
    counts = {len(value) for value in reference.get(PROBES, {}).values()} or {0}
    if counts != {len(drawn)} or said["rows"] != len(drawn):
        raise ValueError(
            f"Expected reference answers to {len(drawn)} probe rows. Received: {sorted(counts)}. "
            "Export the model again."
        )
    if not len(drawn):
        return
    # Token ids of no text have no strings that would make them.
    right = np.flatnonzero(~drawn.ids) if strings and samples.texts else np.arange(len(drawn))
    unsteady = np.intersect1d(right, drawn.rows_of(said["unsteady"]))
    steady = np.setdiff1d(right, unsteady)
    values = drawn.inputs | (drawn.texts if strings else {})
    for batch in batches:
        place, count = run(values, batch)
        for name, rows in ((PROBES, steady), (UNSTEADY, unsteady)):
            if len(rows):
                lines.append(Line(place, name, batch, PROBES, count, rows, large=name == UNSTEADY))


def for_signature(inputs, tensors):
    """Picks the inputs by name; text as strings where the signature takes strings."""
    values = {}
    for tensor in tensors:
        value = inputs[tensor["name"]]
        if tensor["dtype"] == "string" and value.dtype == "uint8":
            value = as_strings(value)
        values[tensor["name"]] = value
    return values


def name_breaches(signature, tensors, report):
    """What the runtime sees, against what the manifest promises: names, dtypes, shapes."""
    breaches = []
    for side in ("inputs", "outputs"):
        promised = {t["name"]: (t["dtype"], t["shape"]) for t in tensors[side]}
        found = {name: (t["dtype"], t["shape"]) for name, t in report[side].items()}
        for name in sorted(set(promised) | set(found)):
            if not _keeps(promised.get(name), found.get(name), side == "outputs"):
                breaches.append(
                    f"{signature}: expected {side[:-1]} {name!r} as {promised.get(name)}, "
                    f"the runtime shows {found.get(name)}"
                )
    return breaches


def _keeps(promised, found, output):
    """Whether a tensor is as promised; of an output a runtime may know less of the shape.

    What comes out has that shape in any case: its values are compared.
    """
    if promised is None or found is None or not output:
        return promised == found
    (dtype, shape), (other, seen) = promised, found
    return (
        dtype == other
        and len(shape) == len(seen)
        and all(have in (None, want) for want, have in zip(shape, seen, strict=True))
    )
