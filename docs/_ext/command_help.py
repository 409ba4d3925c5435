"""Directives that show the texts of the command line, so that no page repeats them.

`{command-help}` makes a section of each command of `mmzoo`, with what its `--help` prints.
`{recipe-help} concepts` shows the docstring and the options of a recipe.
"""

import contextlib
import importlib
import inspect
import io
import os

import typer.main
from docutils import nodes
from docutils.parsers.rst import Directive


def plain_help(command, path):
    """The text of `--help` of a command, without colours and boxes."""
    command.rich_markup_mode = None
    context = command.context_class(command, info_name=path, terminal_width=88)
    return command.get_help(context).rstrip()


def section(title, *texts):
    """A section whose title is code and whose content is literal."""
    made = nodes.section(ids=[nodes.make_id(title)])
    made += nodes.title(title, "", nodes.literal(title, title))
    for text in texts:
        made += nodes.literal_block(text, text, language="text")
    return made


class CommandHelp(Directive):
    """All commands of `mmzoo`, a section each; those of a group behind it."""

    def run(self):
        from mmzoo.cli.app import app

        return list(sections(typer.main.get_command(app), "mmzoo"))


def sections(command, path):
    yield section(path, plain_help(command, path))
    for name, below in getattr(command, "commands", {}).items():
        yield from sections(below, f"{path} {name}")


class RecipeHelp(Directive):
    """The docstring and the options of one recipe."""

    required_arguments = 1

    def run(self):
        (name,) = self.arguments
        os.environ["COLUMNS"] = "88"
        recipe, printed = importlib.import_module(f"mmzoo.recipes.{name}"), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            recipe.parse(["--help"])
        return [section(name, inspect.getdoc(recipe), printed.getvalue().rstrip())]


def setup(app):
    app.add_directive("command-help", CommandHelp)
    app.add_directive("recipe-help", RecipeHelp)
    return {"parallel_read_safe": True}
