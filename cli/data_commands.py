"""`mmzoo data`: data sets of any size."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Data sets of any size: manifests to record files.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Data sets of any size: manifests to record files."""


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def prepare(
    context: typer.Context,
    manifest: Annotated[Path, typer.Argument(help="A .csv, .jsonl or .parquet file.")],
    out: Annotated[Path, typer.Option(help="Folder of the data set.")],
    root: Annotated[Path | None, typer.Option(help="Folder that paths start from.")] = None,
    rows_per_shard: Annotated[int, typer.Option(min=1, help="Rows of a shard.")] = 1000,
    columns: Annotated[
        str, typer.Option(help="image=picture,label=class, where they differ.")
    ] = "",
    classes: Annotated[
        Path | None, typer.Option(help="A text file with a class name a line.")
    ] = None,
    runner: Annotated[str, typer.Option(help="direct, flink, spark or dataflow.")] = "direct",
    workers: Annotated[int, typer.Option(min=1, help="Threads of the direct runner.")] = 2,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 if a row has a fault.")] = False,
) -> None:
    """Make record files of a manifest; run again it goes on. Further options: the runner's."""
    import argparse

    from mmzoo.cli.text_files import read_lines
    from mmzoo.data.prepare import prepare_dataset
    from mmzoo.training.launch.arguments import pairs

    try:
        renamed = pairs(columns)
    except argparse.ArgumentTypeError as error:
        raise typer.BadParameter(f"{columns!r}: {error}.", param_hint="--columns") from error
    found = prepare_dataset(
        manifest,
        out,
        root=root,
        rows_per_shard=rows_per_shard,
        columns=renamed,
        classes=None if classes is None else read_lines(classes, "class names"),
        runner=runner,
        workers=workers,
        options=context.args,
    )
    typer.echo(f"{found['records']:,} records in {len(found['shards']):,} shards: {out}")
    if found["dead"]:
        typer.echo(f"{found['dead']:,} rows have a fault: {out / 'dead_letter.jsonl'}")
        if strict:
            raise typer.Exit(1)
