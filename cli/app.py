"""The command line. Each command imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from mmzoo.cli.bundle_commands import add_bundle_commands
from mmzoo.cli.data_commands import app as data
from mmzoo.cli.hub_commands import app as hub
from mmzoo.cli.model_options import LayerModules, Trust
from mmzoo.cli.recipe_commands import add_recipe_commands

app = typer.Typer(
    name="mmzoo",
    help="Multimodal recipes for TensorFlow and Keras 3, exported and verified.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(hub, name="hub")
app.add_typer(data, name="data")
add_recipe_commands(app)


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Before a command: show where an error came from.")
    ] = False,
) -> None:
    if version:
        from mmzoo import __version__

        typer.echo(__version__)
        raise typer.Exit
    del context, debug  # `__main__` has taken it


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="A Keras 3 archive.")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle.")],
    formats: Annotated[
        str | None,
        typer.Option(
            help="Comma separated, each of which must be made; tflite-int8 and the like are "
            "variants. Or all: what the model can carry. Else what it can carry of "
            "saved_model, tflite, onnx."
        ),
    ] = None,
    quantize: Annotated[
        str, typer.Option(help="Tower by tower: image=int8,text=dynamic,audio=float16.")
    ] = "",
    samples: Annotated[
        Path | None,
        typer.Option(
            help="An .npz file with an array an input, and `labels` or `target/NAME`. None: those "
            "of the bundle beside the model, as a run leaves it. Fewer than 17 samples are "
            "repeated to fill a batch of 17, and that is said; int8 needs 21 different ones, and "
            "learns its ranges from some that nothing is checked on."
        ),
    ] = None,
    task: Annotated[
        Path | None,
        typer.Option(metavar="TASK.json", help="What the model takes and gives; else guessed."),
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="A text file with a class name a line, without --task.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference, as a part of an output's scale.")
    ] = 1e-5,
    metric_limit: Annotated[
        float, typer.Option(help="What a quantised artifact may lose of the metric, as a share.")
    ] = 0.005,
    name: Annotated[str | None, typer.Option(help="Title of the model card.")] = None,
    about: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEADING=TEXT|FILE.md",
            help="What the model card says: of Data, Metrics, Limits, Licence, or a heading of "
            "your own. Of a Markdown file, what stands under its headings. Repeat it for more.",
        ),
    ] = None,
    version: Annotated[
        str, typer.Option("--version", help="The model's version, for verify --expect-version.")
    ] = "1",
    image_fit: Annotated[
        str | None,
        typer.Option(
            metavar="stretch|pad|crop|none",
            help="How an image is brought to the model's size, as in training, without --task; "
            "else that of the samples, else stretch.",
        ),
    ] = None,
    trust: Trust = False,
    imports: LayerModules = None,
) -> None:
    """Export a model, and verify each artifact in its own runtime."""
    from mmzoo.cli.text_files import read_lines, read_task
    from mmzoo.evaluation.report.summary import print_certificate
    from mmzoo.export import export_bundle
    from mmzoo.export.bundle.model_card import read_about
    from mmzoo.export.bundle.run_material import run_material
    from mmzoo.export.samples.files import load_samples
    from mmzoo.io.keras_files import import_modules, load_keras

    import_modules(imports or ())
    said = read_about(about or ())
    typer.echo("Exporting, and checking each artifact in its own runtime …")
    given: dict = {"classes": None if classes is None else read_lines(classes, "class names")}
    if samples is None and not image_fit and classes is None:
        given = run_material(model) or given
    if samples is not None:
        given["samples"] = load_samples(samples)
    if task is not None:
        given["task"] = read_task(task)
    bundle = export_bundle(
        load_keras(model, trust=trust),
        out,
        formats=formats if formats in (None, "all") else tuple(formats.split(",")),
        quantize=_pairs(quantize),
        **given,
        tolerance=tolerance,
        metric_limit=metric_limit,
        version=version,
        image_fit=image_fit,
        about=said,
        name=name,
    )
    print_certificate(bundle.certificate)
    typer.echo(f"Bundle: {bundle.path}")


def _pairs(text: str) -> dict[str, str]:
    import argparse

    from mmzoo.training.launch.arguments import pairs

    try:
        return pairs(text)
    except argparse.ArgumentTypeError as error:
        raise typer.BadParameter(f"{text!r}: {error}.", param_hint="--quantize") from error


add_bundle_commands(app)
