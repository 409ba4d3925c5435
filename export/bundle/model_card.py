"""The model card of a bundle: what it takes and gives, how well, and what is not known."""

import re
from pathlib import Path

from mmzoo.evaluation.report.values import in_words
from mmzoo.tasks import Image, Task, Tensor

HEADINGS = ("Data", "Metrics", "Limits", "Licence")


def model_card(
    manifest: dict, certificate: dict, about: dict | None = None, name: str | None = None
) -> str:
    """Writes the card, in Markdown.

    Args:
        manifest, certificate: Those of the bundle.
        about: Optional dict of a heading ("Data", "Licence", "Limits") to Markdown; "" stands
            under the title.
        name: The title. None: the model's name, unless it is one that Keras gave it.

    Reference:
        Mitchell et al., 2019 (arXiv:1810.03993). Differs: only what was measured, and what
        whoever exported it says; the rest is named as not stated.
    """
    about = dict(about or {})
    checked = certificate["samples"]
    count = f"up to {checked['count']:,} samples ({checked['source']})"
    if "given" in checked:
        count = f"{checked['given']} samples ({checked['source']}), repeated to fill a batch of 17,"
    lines = [f"# {_title(name, manifest)}", ""]
    if "" in about:
        lines += [about.pop(""), ""]
    lines += ["## Takes and gives", "", "| tensor | | dtype | shape |", "|---|---|---|---|"]
    for side, word in (("inputs", "in"), ("outputs", "out")):
        for tensor in manifest[side]:
            shape = ", ".join("any" if size is None else str(size) for size in tensor["shape"])
            lines.append(f"| `{tensor['name']}` | {word} | {tensor['dtype']} | ({shape}) |")
    present = [t["presence_of"] for t in manifest["inputs"] if t.get("presence_of")]
    lines += ["", *_features(manifest)]
    lines += ["", "May be absent: " + ", ".join(present) + "."] if present else []
    lines += [
        "",
        "## Artifacts",
        "",
        f"Each was run in its own runtime on {count} and compared with the Keras model; float32 "
        "within "
        f"{certificate['tolerance']:g} of an output's scale, quantised ones by their metric.",
        "",
        *artifacts_table(certificate),
    ]
    left_out = manifest.get("left_out", {})
    if left_out:
        lines += ["", "Left out:", ""]
        lines += [f"- `{each}`: {' '.join(why.split())}" for each, why in left_out.items()]
    if "calibration" in manifest:
        drawn = manifest["calibration"]
        lines += ["", f"int8 learned its ranges from {drawn['count']:,} other samples "
                  f"({drawn['source']}): {drawn['split']}."]  # fmt: skip
    for name, entry in manifest.get("formats", {}).items():
        if entry.get("operators"):
            lines += ["", f"`{name}` takes text as strings, by operators of "
                      f"{', '.join(entry['operators'])}."]  # fmt: skip
            lines += [f"- Not held to Keras' answer: {text}" for text in entry["differs"]]
    lost = {
        name: entry["nonfinite"]
        for name, entry in manifest.get("formats", {}).items()
        if entry.get("nonfinite")
    }
    if lost:
        lines += ["", "NaN and infinity don't show in every answer; check inputs before:", ""]
        lines += [f"- `{name}`: {'; '.join(said)}." for name, said in lost.items()]
    first = next(iter(certificate["formats"].values()))
    if first["subsets"]:
        called = in_words(next(iter(first["subsets"].values()))["name"])
        lines += ["", f"## {called.capitalize()} by what is present", ""]
        lines += [f"| present | {called} | samples |", "|---|---|---|"]
        for name, metric in first["subsets"].items():
            lines.append(f"| {name} | {metric['keras']:.3f} | {metric['samples']} |")
    for heading in HEADINGS:
        lines += ["", f"## {heading}", "", about.pop(heading, "Not stated by who exported it.")]
    for heading, text in about.items():
        lines += ["", f"## {heading}", "", text]
    return "\n".join(lines) + "\n"


def _features(manifest):
    """What each feature is, and how a value of it is brought to what the model takes."""
    task = Task.from_json(manifest["task"])
    tensors = {t.feature: t for t in map(Tensor.from_json, manifest["inputs"]) if not t.presence_of}
    lines = []
    for feature in task.features:
        tensor, text = tensors[feature.name], feature.words()
        if tensor.tokens_of:
            text += ", as token ids of the SavedModel's signature `tokenize`"
        elif feature.kind == "text" and tensor.dtype == "uint8":
            text += ", as UTF-8 bytes, zero padded"
        if isinstance(feature, Image):
            any_size = None in tensor.shape[1:3] and feature.size is not None
            whose = "taken" if feature.size is None else "one of another size is"
            text += f", RGB from 0 to 255, {whose} {feature.fit_words()}"
            text += ", the size of the samples; the model itself takes any" * any_size
        lines.append(f"- `{feature.name}`: {text}.")
    return lines


def read_about(given) -> dict[str, str]:
    """What the card says, from the command line.

    Args:
        given: Texts: `HEADING=TEXT`, or the path of a Markdown file: what stands before its first
            heading stands under the title, and the rest under its headings.

    Returns:
        Dict of heading to Markdown, as `model_card` takes it.

    Raises:
        ValueError: If one is neither, can't be read, or a heading is there twice.
    """
    found: dict[str, str] = {}
    for text in given:
        heading, sign, words = text.partition("=")
        if text.lower().endswith((".md", ".markdown")) and not (sign and " " in words):
            pairs = _sections(Path(text))
        elif sign and heading.strip() and words.strip():
            pairs = [(heading.strip(), words.strip())]
        else:
            raise ValueError(
                f"--about takes HEADING=TEXT, such as Data='12,000 photos of our own', or the path "
                f"of a Markdown file (.md). Received: {text!r}."
            )
        for key, value in pairs:
            key = next((each for each in HEADINGS if each.lower() == key.lower()), key)
            if key in found:
                raise ValueError(f"--about says {key!r} twice. Say it once.")
            found[key] = value
    return found


def _sections(path):
    """The headings of a Markdown file, and what stands under each; fenced code holds none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise ValueError(f"--about {path} can't be read as UTF-8 text: {error}.") from error
    sections: list[tuple[str, list[str]]] = [("", [])]
    fenced = False
    for line in lines:
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        heading = re.fullmatch(r"#{1,2}\s+(.+?)\s*#*\s*", line)
        if heading and not fenced:
            sections.append((heading[1], []))
        else:
            sections[-1][1].append(line)
    read = [(name, "\n".join(body).strip()) for name, body in sections]
    if not any(body for _, body in read):
        raise ValueError(
            f"--about {path} says nothing: it has no text. Write some, or leave it out."
        )
    return [(name, body) for name, body in read if body]


def _title(name, manifest):
    """A name that says something: Keras' own, "functional_3", does not."""
    name = " ".join((name or "").split())
    if name:
        return name
    if not re.fullmatch(r"(functional|sequential|model)(_\d+)?", manifest["model"]):
        return manifest["model"]
    inputs, outputs = (
        ", ".join(tensor["name"] for tensor in manifest[side]) for side in ("inputs", "outputs")
    )
    return f"Model of {inputs} to {outputs}"


def artifacts_table(certificate: dict) -> list[str]:
    """Lines of a Markdown table: what each artifact of a certificate costs and loses."""
    metrics = [entry["metric"] for entry in certificate["formats"].values() if entry["metric"]]
    called = in_words(metrics[0]["name"]) if metrics else "metric"
    lines = [
        f"| artifact | runtime | MB | ms, batch 1 | {called} | change | largest difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, entry in certificate["formats"].items():
        metric = entry["metric"]
        right = ("–", "–")
        if metric is not None:
            right = (f"{metric['artifact']:.3f}", f"{metric['change']:+.3f}")
        lines.append(
            f"| {name} | {entry['runtime']} | {entry['bytes'] / 1e6:.1f} | "
            f"{entry['latency_ms']['1']:.1f} | {right[0]} | {right[1]} | "
            f"{max(check['max_abs'] for check in entry['checks']):.1e} |"
        )
    return lines
