"""The commands that run recipes."""

from pathlib import Path
from typing import Annotated

import typer


def _folder() -> Path:
    """Where the recipes are."""
    import importlib.util

    spec = importlib.util.find_spec("mmzoo.recipes")
    return Path(next(iter((spec.submodule_search_locations if spec else None) or [])))


def _recipes() -> dict[str, str]:
    """Recipe name to the first line of its docstring, read without running it."""
    import ast

    found = {}
    for path in sorted(_folder().glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path.stem] = text.partition("\n")[0]
    return found


recipes = typer.Typer(help="List the recipes, or copy one to change it.")


@recipes.callback(invoke_without_command=True)
def list_recipes(context: typer.Context) -> None:
    """List the recipes."""
    if context.invoked_subcommand is None:
        for name, story in _recipes().items():
            typer.echo(f"{name:<12} {story}")


@recipes.command()
def copy(
    recipe: Annotated[str, typer.Argument(help="A name that `mmzoo recipes` lists.")],
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="Where the script goes.")],
) -> None:
    """Copy a recipe to a script of your own; run it with python FILE.py."""
    _check_recipe(recipe)
    if file.exists():
        raise typer.BadParameter(f"{str(file)!r} exists. Name another file.", param_hint="FILE.py")
    content = (_folder() / f"{recipe}.py").read_text(encoding="utf-8")
    file.write_text(content, encoding="utf-8")
    typer.echo(f"Copied: {file}. Change it, and run it: python {file} --help")


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
    app.add_typer(recipes, name="recipes")
    app.command(context_settings=further, add_help_option=False)(run)
    app.command("train-cluster", context_settings=further)(train_cluster)
    app.command(context_settings=further, add_help_option=False)(bakeoff)
