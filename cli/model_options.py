"""The options of every command that reads a Keras archive."""

from typing import Annotated

import typer

LayerModules = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="A module or .py file of layers of your own."),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Run the modules and lambdas that the file names.")
]
