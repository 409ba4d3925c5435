"""What every page shares: how it is written, and how a figure takes the page's colours."""

import io
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

from mmzoo.evaluation.intervals import wilson_interval
from mmzoo.io.files import atomic_write

FOLDER = Path(__file__).parent

# Control characters, and those that embed, override or isolate a direction.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_LONGEST = 300  # characters of a text; longer ones are cut

# A CSS variable of the page's style sheet, light and dark, to what stands for it in matplotlib.
COLOURS = {
    "ink": "#010203",
    "line": "#020304",
    "second": "#030405",
    "accent": "#040506",
    "muted": "#050607",
    "ground": "#060708",
    "early": "#070809",
    "late": "#08090a",
    "intermediate": "#090a0b",
    "attention": "#0a0b0c",
}


def write_page(path: str | Path, template: Path, values: Mapping) -> Path:
    """Renders a template to an HTML file; an old one is replaced in one rename.

    Args:
        path: File to write.
        template: Path of a Jinja template, which may import `page.html.jinja` of this folder.
            Every value is escaped there unless it says otherwise.
        values: What the template names.

    Returns:
        `path`.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, FOLDER]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        clip=clip,
        percent=lambda share: f"{100 * share:.1f}\u202f%",
        difference=lambda value: "0" if value == 0 else f"{value:.2e}",
        duration=_duration,
        wilson=wilson_interval,
    )
    page = environment.get_template(template.name).render(values)
    path = Path(path)
    with atomic_write(path) as new:
        # A lone surrogate, which JSON can hold, has no UTF-8: a question mark stands for it.
        new.write_bytes(page.encode("utf-8", "replace"))
    return path


def clip(text: object, longest: int = _LONGEST) -> str:
    """Cuts a long text; shows what no page may hold, or would turn it round, as U+FFFD."""
    text = _UNSEEN.sub("\ufffd", str(text))
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"


def _duration(seconds):
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def style(axes) -> None:
    """Gives matplotlib axes the page's ink and lines."""
    axes.tick_params(which="both", colors=COLOURS["ink"], labelsize=8, length=0)
    axes.grid(color=COLOURS["line"], lw=0.7)
    axes.spines[:].set_color(COLOURS["line"])
    axes.spines[["top", "right"]].set_visible(False)


def inline(figure, name: str, label: str) -> str:
    """Returns a matplotlib figure as an `<svg>` that can stand in a page beside others.

    Args:
        figure: A `Figure` whose colours are among `COLOURS`.
        name: Unique in the page; it starts the figure's ids.
        label: What the picture shows, for those who can't see it.
    """
    import matplotlib

    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # Text stays text, in the page's font; the salt makes the same figure the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mmzoo"}):
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)  # it would style the whole page
    svg = re.sub(r'\s(?:xmlns(?::\w+)?|width|height|version)="[^"]*"', "", svg, count=5)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\g<1>#{name}-", svg)
    for variable, stand_in in COLOURS.items():
        svg = svg.replace(stand_in, f"var(--{variable})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
