"""`mmzoo hub`: modules that are known, fetched, published and built."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmzoo.cli.model_options import LayerModules, Trust

app = typer.Typer(
    help="TF-Hub modules: list, describe, fetch, publish and build them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

HANDLE = "A tfhub.dev or Kaggle handle, mmzoo/NAME/VERSION, a URL, a folder or an archive."
Handle = Annotated[str, typer.Argument(metavar="HANDLE", help=HANDLE)]


class Modality(StrEnum):
    IMAGE = "image"
    TEXT = "text"
    AUDIO = "audio"
    VIDEO = "video"


@app.command("list")
def list_modules(
    modality: Annotated[Modality | None, typer.Option(help="Only these.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the catalogue, and which modules are on this machine."""
    from mmzoo.hub import catalogue

    listed = [e for e in catalogue.entries() if modality in (None, e.modality)]
    rows = [_describe(entry) for entry in listed]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    import rich.box
    import rich.table

    columns = ("modality", "input", "units", "fine-\ntunable", "licence", "cached in")
    handles = rich.table.Column("handle", overflow="fold", min_width=16)
    table = rich.table.Table(handles, *columns, box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(
            row["handle"].removeprefix("https://"),
            row["modality"],
            row["input"],
            "" if row["units"] is None else str(row["units"]),
            {True: "yes", False: "no", None: ""}[row["fine_tunable"]],
            row["licence"],
            row["cached_in"] or "no",
        )
    _print(table)


@app.command()
def info(handle: Handle) -> None:
    """Say what a module takes and gives, where it is or would be, and what is in it."""
    from mmzoo.hub import catalogue
    from mmzoo.hub.cache import WHOLE
    from mmzoo.hub.contract import read_contract
    from mmzoo.hub.handles import parse
    from mmzoo.hub.resolution import find, resolve

    parsed = parse(handle)
    entry = catalogue.find(parsed)
    findings = find(parsed)
    whole = [finding.place.path for finding in findings if finding.state == WHOLE]
    local = parsed.kind == "folder" or (parsed.kind == "archive" and not parsed.path.is_file())
    folder = resolve(parsed) if local else next(iter(whole), None)
    contract = read_contract(folder) if folder else None
    if contract is None and entry is not None:
        contract = entry.contract

    lines = [("handle", str(parsed))]
    lines += [("also", str(other)) for other in catalogue.equivalents(parsed)]
    if contract:
        lines += _contract_lines(contract)
    elif entry:
        lines.append(("modality", entry.modality))
    if entry and entry.needs:
        lines.append(("needs", ", ".join(entry.needs)))
    if entry and entry.build:
        lines.append(("build", f"mmzoo hub build {entry.build}"))
    if entry and entry.note:
        lines.append(("note", entry.note))
    if folder:
        lines += _folder_lines(folder)
    lines += [(finding.place.cache, _place(finding)) for finding in findings]
    for name, text in lines:
        typer.echo(f"{name:<15} {text}")


@app.command()
def fetch(
    handle: Handle,
    offline: Annotated[bool, typer.Option("--offline", help="Leave the network alone.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Fetch it though it is here.")] = False,
    sha256: Annotated[
        str, typer.Option(help="What it must be; `mmzoo hub info` prints it. Or HANDLE#sha256=….")
    ] = "",
) -> None:
    """Fetch a module unless a cache holds it whole, and print its folder."""
    from mmzoo.hub.resolution import resolve

    handle = f"{handle}#sha256={sha256}" if sha256 else handle
    typer.echo(resolve(handle, offline=True if offline else None, force=force))


@app.command()
def publish(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="A Keras 3 archive.")],
    tower: Annotated[str, typer.Option(help="Its encoder to publish: image, text or audio.")],
    out: Annotated[Path, typer.Option(help="Folder of the module.")],
    card: Annotated[Path | None, typer.Option(help="A model card in Markdown.")] = None,
    licence: Annotated[str, typer.Option(help="SPDX identifier, Apache-2.0 for example.")] = "",
    trust: Trust = False,
    imports: LayerModules = None,
) -> None:
    """Write one tower of a trained model as a TF-Hub module."""
    from mmzoo.cli.text_files import read_text
    from mmzoo.hub import publish
    from mmzoo.hub.towers import find_tower, tower_contract
    from mmzoo.io.keras_files import import_modules, load_keras

    text = None if card is None else read_text(card, "a model card")
    import_modules(imports or ())
    found = find_tower(load_keras(model, trust=trust), tower)
    publish(found, out, card=text, contract=tower_contract(found, licence))
    for name, line in _folder_lines(out):
        typer.echo(f"{name:<15} {line}")


@app.command()
def build(
    name: Annotated[str, typer.Argument(metavar="NAME", help="image, text, audio or minilm.")],
    weights: Annotated[Path | None, typer.Option(help="Weights on disk.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Build it though it is here.")] = False,
) -> None:
    """Make a module of pretrained weights that are on this machine, into mmzoo's cache."""
    from mmzoo.pretrained.build import build_modules

    for folder in build_modules(name, weights=weights, force=force).values():
        typer.echo(folder)


def _describe(entry) -> dict:
    """An entry of the catalogue as a JSON-able dict, with where it was found."""
    from mmzoo.hub.cache import WHOLE
    from mmzoo.hub.contract import read_contract
    from mmzoo.hub.resolution import find

    hits = (f.place for f in find(entry.handle, checksums=False) if f.state == WHOLE)
    place, contract, note = next(hits, None), entry.contract, entry.note
    try:
        contract = (read_contract(place.path) if place else None) or contract
    except ValueError as error:  # one damaged module must not hide the others
        note = str(error)
    return {
        "handle": entry.handle,
        "kaggle": entry.kaggle,
        "modality": entry.modality,
        "input": _input(contract.input) if contract else "",
        "units": contract.outputs.units if contract else None,
        "fine_tunable": contract.fine_tunable if contract else None,
        "licence": contract.licence if contract else "",
        "cached_in": place.cache if place else "",
        "path": str(place.path) if place else "",
        "needs": list(entry.needs),
        "note": note,
    }


def _input(takes) -> str:
    """An `Input` in a few words: "image 224×224 in [0, 1]"."""
    words = [takes.kind.replace("_", " ")]
    if takes.size:
        words.append("×".join(map(str, takes.size)))
    elif takes.kind in ("image", "video"):
        words.append("of any size")
    if takes.value_range:
        words.append(f"in [{takes.value_range[0]:g}, {takes.value_range[1]:g}]")
    if takes.sample_rate:
        words.append(f"at {takes.sample_rate} Hz")
    if takes.max_length:
        words.append(f"to {takes.max_length}")
    return " ".join(words) + ("" if takes.batched else ", one a call")


def _contract_lines(contract):
    gives = contract.outputs
    places = {"pooled": gives.pooled, "tokens": gives.tokens, "mask": gives.mask}
    named = [
        f"{name}: {'the output' if place == '' else repr(place)}"
        for name, place in places.items()
        if place is not None
    ]
    yield "modality", contract.modality
    yield "input", f"{_input(contract.input)}, {contract.input.dtype}"
    for name in ("mean", "std", "preprocessor"):
        if getattr(contract.input, name):
            yield name, str(getattr(contract.input, name))
    yield "output", f"{gives.units} units ({', '.join(named)})"
    yield "fine-tunable", "yes" if contract.fine_tunable else "no"
    yield "licence", contract.licence or "unknown"


def _folder_lines(folder):
    from mmzoo.hub.saved_model import read_saved_model

    model = read_saved_model(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    variables = [spec for spec in model.variables if spec.name != "save_counter"]
    values = sum(_count(spec.shape) for spec in variables)
    kind = "TF1 format" if model.tf1 else "reusable" if model.reusable else "signatures only"
    from mmzoo.hub.cache import digest_of

    yield "folder", str(folder)
    yield "sha256", digest_of(folder)
    yield "size", f"{size / 1e6:.1f} MB, written by TensorFlow {model.tensorflow_version}"
    yield "variables", f"{len(variables)}, {values:,} values; {kind}"
    for name, signature in model.signatures.items():
        inputs, outputs = (_tensors(signature[side]) for side in ("inputs", "outputs"))
        yield "signature", f"{name}: {inputs} → {outputs}"


def _tensors(specs):
    def shape(spec):
        sizes = spec.shape if spec.shape is not None else ("…",)
        return f"{spec.dtype}({', '.join('?' if size is None else str(size) for size in sizes)})"

    return ", ".join(f"{name} {shape(spec)}" for name, spec in specs.items())


def _count(shape):
    import math

    return math.prod(shape or ())


def _place(finding):
    return f"{finding.place.path} ({finding.state}{finding.reason and ': '}{finding.reason})"


def _print(table):
    import rich.console

    console = rich.console.Console()
    (console if console.is_terminal else rich.console.Console(width=200)).print(table)
