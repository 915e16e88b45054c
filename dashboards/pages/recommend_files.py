"""The files of the recommendation: the YAML with copy and download, and what other trainers take."""

from __future__ import annotations

from typing import Any

from dash import html

from dashboards.answers import FILE_NAME, Answer, command
from dashboards.components import behind, card, empty
from dashboards.exports import export_path, rows_command
from dashboards.state import Query

_TRAINERS = {"trl": "TRL", "llamafactory": "LLaMA-Factory", "axolotl": "Axolotl"}


def take_away(found: Answer, query: Query) -> html.Div | None:
    """The buttons below the choice; none where nothing here can train it."""
    if found.config is None:
        return None
    return html.Div(
        [
            html.A(
                "Download YAML",
                href=export_path(found.sweep, query),
                download=FILE_NAME,
                className="button primary",
                id="download-yaml",
            ),
            html.Button("Copy YAML", id="copy-yaml", className="button", type="button"),
            html.Span("", id="copied", className="quiet", role="status"),
        ],
        className="actions",
    )


def yaml_card(found: Answer) -> html.Section:
    """The whole file, and the command that writes it."""
    if found.config is None:
        origin = found.recommendation.trial.origin
        why = f"It was measured elsewhere, in the table {origin}: nothing here can train it."
        return card(FILE_NAME, empty("There is no file to train from", why, small=True))
    return card(
        FILE_NAME,
        html.Pre(found.config, className="yaml", id="yaml-text", tabIndex=0),
        html.P(
            [
                "The same bytes in a terminal, in the folder where the sweep ran: ",
                html.Code(command(found.sweep, found.asked)),
            ],
            className="note",
        ),
        lead=_lead(found),
    )


def _lead(found: Answer) -> str:
    if found.recommendation.choice.method.name == "none":
        return "The base model as it is, and the evidence that tuning would not pay."
    return (
        "Everything that determines this fine-tune, with the evidence for it. "
        f"sft-select train {FILE_NAME} trains exactly this model."
    )


def trainers_card(found: Answer, query: Query) -> html.Section | None:
    """The same fine-tune in the words of other trainers."""
    if found.config is None:
        return None
    parts = html.Div(
        [
            html.Div([html.H3(words), *_trainer(found, to, query)], className="facet")
            for to, words in _TRAINERS.items()
        ],
        className="trainers",
    )
    lead = "The same fine-tune as other trainers' own files, with as many steps as it took here."
    return card("For another trainer", parts, lead=lead)


def _trainer(found: Answer, to: str, query: Query) -> list[Any]:
    recipe = found.recipes[to]
    if isinstance(recipe, str):
        return [html.P(recipe, className="note")]
    rows = ["The rows are written where the data lie, with ", html.Code(rows_command(to)), "."]
    return [
        html.Div(
            html.A(
                f"Download {to}.zip",
                href=export_path(found.sweep, query, f"{to}.zip"),
                download=f"{to}.zip",
                className="button",
            ),
            className="actions",
        ),
        html.P(rows, className="note"),
        *(
            behind(f"Show {name}", html.Pre(text, className="yaml", tabIndex=0))
            for name, text in recipe.items()
        ),
    ]
