"""The report as one HTML document: sections, stylesheet, charts and plotly.js, without a network."""

from __future__ import annotations

import base64
import hashlib
import html as escaping
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dashboards.report.render import Renderer

_HERE = Path(__file__).parent
_SHEETS = (_HERE.parent / "assets" / "style.css", _HERE / "report.css")
THEMES = ("light", "dark")


class Section(NamedTuple):
    """A titled part of the report. ``content``: its components, by theme."""

    anchor: str
    title: str
    content: Callable[[str], Any]


def document(title: str, head: Any, sections: Sequence[Section]) -> str:
    """The whole file; charts are in it in both themes, words and tables once."""
    renderers = {theme: Renderer() for theme in THEMES}
    bodies = {
        theme: [renderer.html(section.content(theme)) for section in sections]
        for theme, renderer in renderers.items()
    }
    contents = "".join(
        f'<li><a href="#{section.anchor}">{escaping.escape(section.title)}</a></li>'
        for section in sections
    )
    parts = "".join(
        f'<section class="part" id="{section.anchor}" aria-label="{escaping.escape(section.title)}">'
        f'<p class="part-name">{escaping.escape(section.title)}</p><div class="stack">{body}</div></section>'
        for section, body in zip(sections, bodies["light"], strict=True)
    )
    scripts = [plotly_script(), (_HERE / "report.js").read_text(encoding="utf-8")]
    charts = "".join(
        f'<script type="application/json" id="figure-{theme}-{i}">{_in_script(figure)}</script>\n'
        for theme, renderer in renderers.items()
        for i, figure in enumerate(renderer.figures)
    )
    sheet = "\n".join(path.read_text(encoding="utf-8") for path in _SHEETS)
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en" data-theme="light"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escaping.escape(title)}</title><style>{sheet}</style></head><body>",
            f'<main><header class="report-head">{Renderer().html(head)}</header>',
            f'<nav class="contents" aria-label="Contents"><ul>{contents}</ul></nav>{parts}</main>',
            f"{charts}{''.join(f'<script>{script}</script>' for script in scripts)}</body></html>",
            "",
        ]
    )


def policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy under which only these *scripts* run and nothing is fetched."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in scripts]
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def plotly_script() -> str:
    """plotly.js as the installed plotly brings it."""
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    return text


def _in_script(json: str) -> str:
    """*json* with the characters escaped that could end a script element."""
    return json.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
