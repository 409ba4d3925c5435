"""The model card of a bundle: what it takes and gives, how well, and what is not known."""

from mmzoo.export.image_fit import fit_of


def model_card(manifest: dict, certificate: dict, about: dict | None = None) -> str:
    """Writes the card, in Markdown.

    Args:
        manifest, certificate: Those of the bundle.
        about: Optional dict of a heading ("Data", "Licence", "Limits") to Markdown; "" stands
            under the title.

    Reference:
        Mitchell et al., 2019 (arXiv:1810.03993). Differs: only what was measured, and what
        whoever exported it says; the rest is named as not stated.
    """
    about = dict(about or {})
    lines = [f"# {manifest['model']}", ""]
    if "" in about:
        lines += [about.pop(""), ""]
    lines += ["## Takes and gives", "", "| tensor | | dtype | shape |", "|---|---|---|---|"]
    for side, word in (("inputs", "in"), ("outputs", "out")):
        for tensor in manifest[side]:
            shape = ", ".join("any" if size is None else str(size) for size in tensor["shape"])
            lines.append(f"| `{tensor['name']}` | {word} | {tensor['dtype']} | ({shape}) |")
    present = [t["presence_of"] for t in manifest["inputs"] if t.get("presence_of")]
    audio = manifest["audio"]
    lines += [
        "",
        f"Text: {manifest['text']}. Audio: {audio['sample_rate']:,} Hz, mono, in [-1, 1]. "
        f"Pictures: RGB, 0 to 255.{_pictures(manifest)}"
        + (" May be absent: " + ", ".join(present) + ".")
        * bool(present),
        "",
        "## Artifacts",
        "",
        f"Each was run in its own runtime on up to {certificate['samples']['count']:,} samples "
        f"({certificate['samples']['source']}) and compared with the Keras model; float32 within "
        f"{certificate['tolerance']:g} of an output's scale, quantised ones by their metric.",
        "",
        *artifacts_table(certificate),
    ]
    for name, entry in manifest.get("formats", {}).items():
        if entry.get("operators"):
            lines += ["", f"`{name}` takes text as strings, by operators of "
                      f"{', '.join(entry['operators'])}."]  # fmt: skip
            lines += [f"- Not held to Keras' answer: {text}" for text in entry["differs"]]
    first = next(iter(certificate["formats"].values()))
    if first["subsets"]:
        lines += ["", "## Accuracy by what is present", "", "| present | accuracy | samples |"]
        lines += ["|---|---|---|"]
        for name, metric in first["subsets"].items():
            count = next(c["samples"] for c in first["checks"] if c["sizes"] == name)
            lines.append(f"| {name} | {metric['keras']:.3f} | {count} |")
    for heading in ("Data", "Metrics", "Limits", "Licence"):
        lines += ["", f"## {heading}", "", about.pop(heading, "Not stated by who exported it.")]
    for heading, text in about.items():
        lines += ["", f"## {heading}", "", text]
    return "\n".join(lines) + "\n"


def _pictures(manifest):
    """How pictures are brought to size, as sentences."""
    text = ""
    for tensor in manifest["inputs"]:
        if tensor["name"] in manifest["image_fit"]:
            fit = fit_of(manifest, tensor["name"])
            any_size = None in tensor["shape"][1:3] and fit.size is not None
            whose = "each picture is taken" if fit.size is None else "a picture of another size is"
            text += f" `{tensor['name']}` ({fit.fit}): {whose} {fit.words()}"
            text += ", the size of the samples; the model itself takes any" * any_size + "."
    return text


def artifacts_table(certificate: dict) -> list[str]:
    """Lines of a Markdown table: what each artifact of a certificate costs and loses."""
    lines = [
        "| artifact | runtime | MB | ms, batch 1 | accuracy | change | largest difference |",
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
