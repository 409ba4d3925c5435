"""The commands that take a bundle. Each imports what it needs when it runs."""

import json
from pathlib import Path
from typing import Annotated

import typer

from mmzoo.io.own_modules import import_own

BundleFolder = Annotated[Path, typer.Argument(metavar="DIR", help="A bundle, or a run's folder.")]

Imports = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="A module or .py file of a task of your own."),
]
PublicKey = Annotated[
    Path | None, typer.Option(metavar="KEY.pub", help="Whose signature it must have.")
]


def verify(
    bundle: BundleFolder,
    public_key: PublicKey = None,
    expect_name: Annotated[
        str | None, typer.Option(help="The model's name that it must have.")
    ] = None,
    expect_version: Annotated[
        str | None, typer.Option(help="The version that it must have; see export --version.")
    ] = None,
    imports: Imports = None,
) -> None:
    """Re-run every check on a bundle; exit 1 and name the output on a breach."""
    import_own(imports or ())
    from mmzoo.evaluation.report.summary import print_certificate
    from mmzoo.export import ParityError, verify_bundle
    from mmzoo.export.bundle.checksums import SIGNATURE

    try:
        checked = verify_bundle(
            bundle, public_key, expect_name=expect_name, expect_version=expect_version
        )
    except ParityError as error:
        print_certificate(error.certificate)
        raise
    print_certificate(checked.certificate)
    if public_key is not None:
        typer.echo(f"Signed with the key of {public_key}.")
    elif (checked.path / SIGNATURE).exists():
        typer.echo(f"{SIGNATURE} is there, but was not checked: pass --public-key KEY.pub.")
    typer.echo(f"Every check holds: {checked.path}")


def sign(
    bundle: BundleFolder,
    key: Annotated[Path, typer.Option(metavar="KEY.pem", help="A private elliptic key.")],
) -> None:
    """Sign a bundle with a key of your own, as model.sig beside its files."""
    from mmzoo.export.bundle.signing import sign_bundle

    typer.echo(f"Signed: {sign_bundle(bundle, key)}")


def bench(
    bundle: BundleFolder,
    batches: Annotated[str, typer.Option(help="Samples a call, comma separated.")] = "1,3,17",
    formats: Annotated[
        str, typer.Option(help="Comma separated; the others are compared with the first; or all.")
    ] = "all",
    rounds: Annotated[int, typer.Option(min=1, help="Each in fresh processes.")] = 7,
    out: Annotated[Path, typer.Option(help="Folder of bench.json, .png and .html.")] = Path(
        "build/bench"
    ),
    public_key: PublicKey = None,
    imports: Imports = None,
) -> None:
    """Measure each artifact beside its runtime called by hand; a wrong answer is refused."""
    import_own(imports or ())
    import rich.console

    from mmzoo.export.bench.page import bench_table, write_bench
    from mmzoo.export.bench.runner import bench_bundle
    from mmzoo.io.run_place import check_run_place

    files = ("bench.json", "bench.png", "bench.html")
    check_run_place(out, files, "bench.json", {"schema": None, "artifacts": None})
    try:
        sizes = [int(batch) for batch in batches.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{batches!r}: not whole numbers.", param_hint="--batches"
        ) from error
    console = rich.console.Console()
    with console.status("") as status:
        results = bench_bundle(
            bundle,
            batches=sizes,
            formats=None if formats == "all" else formats.split(","),
            rounds=rounds,
            tell=status.update,
            public_key=public_key,
        )
    console.print(bench_table(results))
    typer.echo(f"Written: {write_bench(out, results)}")


def predict(
    context: typer.Context,
    bundle: BundleFolder,
    format: Annotated[str, typer.Option(help="Which artifact answers.")] = "tflite",
    row: Annotated[
        str | None, typer.Option(metavar="JSON", help="Features and their values: '{\"age\": 33}'.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to list, at most all.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    public_key: PublicKey = None,
    imports: Imports = None,
) -> None:
    """Ask a bundle for its answers to one record of your own.

    Each of the model's features is an option of its name: --image PICTURE, --text WORDS,
    --age 33. Those whose presence the model takes may be left out.
    """
    import_own(imports or ())
    from mmzoo.cli.text_files import read_features
    from mmzoo.export import load_bundle
    from mmzoo.export.inference.prediction import predict_sample

    values = read_features(context.args, row)
    answers = predict_sample(bundle, format, values, top=top, public_key=public_key)
    if as_json:
        typer.echo(json.dumps(answers, ensure_ascii=False))
        return
    import rich
    import rich.markup
    import rich.table

    task = load_bundle(bundle).manifest["task"]
    absent = [each["name"] for each in task["features"] if each["name"] not in values]
    without = f", without {' and '.join(absent)}" if absent else ""
    for name, answer in answers.items():
        table = rich.table.Table(title=f"{format}: {name}{without}")
        rows = answer if isinstance(answer, list) else [answer]
        rows = [each if isinstance(each, dict) else {name: each} for each in rows]
        for column in rows[0] if rows else [name]:
            table.add_column(column)
        for each in rows:
            table.add_row(*(_shown(value) for value in each.values()))
        rich.print(table)


def _shown(value):
    """A cell of a table."""
    import rich.markup

    return f"{value:.4f}" if isinstance(value, float) else rich.markup.escape(str(value))


def embed(
    context: typer.Context,
    bundle: BundleFolder,
    data: Annotated[
        Path,
        typer.Option(
            "--input", help="What `mmzoo data prepare` made; or a .csv, .jsonl, .parquet."
        ),
    ],
    out: Annotated[Path, typer.Option("--output", help="Folder of the vectors.")],
    format: Annotated[str, typer.Option(help="Which artifact answers.")] = "saved_model",
    signature: Annotated[
        str | None,
        typer.Option(help="Comma separated, like encode_image; else the whole model."),
    ] = None,
    outputs: Annotated[
        str, typer.Option(help="Comma separated; else the vectors, or where there are none all.")
    ] = "",
    batch: Annotated[int, typer.Option(min=1, help="Records a call.")] = 64,
    runner: Annotated[str, typer.Option(help="direct, flink, spark or dataflow.")] = "direct",
    workers: Annotated[int, typer.Option(min=1, help="Threads of the direct runner.")] = 2,
    public_key: PublicKey = None,
    imports: Imports = None,
) -> None:
    """Run an artifact over a corpus, to vectors in Parquet; run again it goes on.

    Options of the runner come behind --.
    """
    import_own(imports or ())
    from mmzoo.export.embed import embed_corpus

    found = embed_corpus(
        bundle,
        data,
        out,
        format=format,
        signature=signature.split(",") if signature else None,
        outputs=outputs.split(",") if outputs else None,
        batch=batch,
        runner=runner,
        workers=workers,
        options=context.args,
        public_key=public_key,
    )
    names = ", ".join(
        f"{column['name']} ({column['dim']})" + ", as it is" * (not column["normalize"])
        for column in found["columns"]
    )
    typer.echo(f"{found['records']:,} records, vectors {names}: {out}")
    for name, needs in found["left_out"].items():
        typer.echo(f"{name}: left out, since no record has {' and '.join(needs)}")
    for column in found["columns"]:
        if column["vectors"] < found["records"]:
            typer.echo(f"{column['name']}: of {column['vectors']:,} records, null in the others")
    if found["dead"]:
        typer.echo(f"{found['dead']:,} faults: {out / 'dead_letter.jsonl'}")


def demo(
    bundle: BundleFolder,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the browser.")] = True,
    public_key: PublicKey = None,
    imports: Imports = None,
) -> None:
    """Serve a page, on this computer alone, in which the model answers to what you give it."""
    import_own(imports or ())
    from mmzoo.export.demo.command import serve_demo

    serve_demo(bundle, port=port, open_page=open_page, tell=typer.echo, public_key=public_key)


def add_bundle_commands(app: typer.Typer) -> None:
    """Adds them to the command line."""
    for command in (verify, sign, bench):
        app.command()(command)
    features = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=features)(predict)
    app.command(context_settings={"allow_extra_args": True})(embed)
    app.command()(demo)
