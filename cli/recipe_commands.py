"""The commands that run recipes."""

from pathlib import Path
from typing import Annotated

import typer


def _recipes() -> dict[str, str]:
    """Recipe name to the first line of its docstring, read without running it."""
    import ast
    import importlib.util

    spec = importlib.util.find_spec("mmzoo.recipes")
    folders = spec.submodule_search_locations if spec else None
    found = {}
    for path in sorted(Path(next(iter(folders or []))).glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem] = text.partition("\n")[0]
    return found


def recipes() -> None:
    """List the recipes."""
    for name, story in _recipes().items():
        typer.echo(f"{name:<12} {story}")


def run(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A name that `mmzoo recipes` lists.")],
) -> None:
    """Run a recipe; what follows its name goes to the recipe (`mmzoo run concepts --help`)."""
    import importlib

    if recipe in ("--help", "-h"):
        typer.echo(context.get_help())
        raise typer.Exit
    _check_recipe(recipe)
    importlib.import_module(f"mmzoo.recipes.{recipe}").main(context.args)


def _check_recipe(recipe: str) -> None:
    known = _recipes()
    if recipe not in known:
        raise typer.BadParameter(f"{recipe!r}. Known: {', '.join(known)}.", param_hint="RECIPE")


def train_cluster(
    context: typer.Context,
    recipe: Annotated[str, typer.Argument(help="A name that `mmzoo recipes` lists.")],
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 2,
    out: Annotated[Path, typer.Option(help="The recipe's folder; the logs lie there too.")] = Path(
        "build/cluster"
    ),
    restarts: Annotated[int, typer.Option(min=0, help="Starts of all workers after a fault.")] = 5,
    grace: Annotated[float, typer.Option(min=0, help="Seconds to save in after SIGTERM.")] = 30.0,
) -> None:
    """Train a recipe in several workers, started again together on any fault.

    Further options go to the recipe (`mmzoo train-cluster concepts --workers 2 --epochs 3`).
    """
    from mmzoo.training.launch.cluster import run_cluster, worker_command

    _check_recipe(recipe)
    arguments = [*context.args, "--out", str(out), "--strategy", "multiworker"]
    ended = run_cluster(
        worker_command(recipe, arguments),
        workers=workers,
        logs=out / "logs",
        restarts=restarts,
        grace=grace,
        tell=typer.echo,
    )
    typer.echo(f"All {workers} workers ended well after {ended.restarts} restarts: {out}")


def bakeoff(context: typer.Context) -> None:
    """Compare every kind of fusion (`mmzoo bakeoff concepts --seeds 5`; `--help`)."""
    import importlib

    importlib.import_module("mmzoo.recipes.bakeoff").main(context.args)


def add_recipe_commands(app: typer.Typer) -> None:
    """Adds them; what a command does not know goes to the recipe."""
    further = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command()(recipes)
    app.command(context_settings=further, add_help_option=False)(run)
    app.command("train-cluster", context_settings=further)(train_cluster)
    app.command(context_settings=further, add_help_option=False)(bakeoff)
