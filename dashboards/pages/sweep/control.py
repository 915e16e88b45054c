"""Buttons and forms that ask things of the running sweep; only where the server was started for it.

They stand still while the page around them is redrawn, so that nobody loses what they type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboards.components import card
from dashboards.context import ADDRESS, VERSION, PageContext

#: Where the page keeps a place for the panel.
PLACE = "sweep-control"
_SAID = "control-said"
_SHOWN = "control-shown"  # the name of the sweep that the panel is about
_STOP = "Yes, stop the sweep"
#: Buttons by id, with the action each asks for.
BUTTONS = {
    "control-pause": "pause",
    "control-resume": "resume",
    "control-stop": "stop",
    "control-stop-trial": "stop_trial",
    "control-clone": "clone",
    "control-raise": "raise_budget",
}
#: What may be changed in a clone, as the form asks for it: name, label, example.
CHANGES = (
    ("model", "Base model", "as it was"),
    ("method", "Method", "as it was"),
    ("mix", "Task mix", "as it was"),
    ("volume", "Examples", "as it was"),
    ("learning_rate", "Learning rate", "as it was"),
    ("seed", "Seed", "as it was"),
)
#: Inputs by what they are called in a form.
FIELDS = {
    "stopped": "control-stopped",
    "cloned": "control-cloned",
    "trials": "control-trials",
    "hours": "control-hours",
    **{name: f"control-set-{name}" for name, _, _ in CHANGES},
}


def connect(app: Dash, context: PageContext) -> None:
    """The panel's callbacks; none at all where *desk* may not ask for anything."""
    if context.asks is None:
        return
    app.callback(Output(PLACE, "children"), Input(PLACE, "id"))(lambda _place: panel())
    app.callback(
        Output("control-pause", "disabled"),
        Output("control-resume", "disabled"),
        Output("control-stop", "disabled"),
        Output("control-running", "children"),
        Output(_SHOWN, "data"),
        Output("control-stop", "children"),
        *(Output(f"control-known-{name}", "children") for name in _SUGGESTED),
        VERSION,
        ADDRESS,
    )(lambda _version, search: possible(context, search))

    def ask(
        clicks: Mapping[str, int | None],
        form: Mapping[str, Any],
        search: str | None,
        shown: str | None,
    ) -> Any:
        pressed = ctx.triggered_id
        if pressed not in BUTTONS or not clicks.get(pressed):
            return no_update
        return context.ask(search, BUTTONS[pressed], shown, **fields(BUTTONS[pressed], form))

    app.callback(
        output=Output(_SAID, "children"),
        inputs={
            "clicks": {button: Input(button, "n_clicks") for button in BUTTONS},
            "form": {name: State(identity, "value") for name, identity in FIELDS.items()},
            "search": State("url", "search"),
            "shown": State(_SHOWN, "data"),
        },
        prevent_initial_call=True,
    )(ask)


def fields(action: str, form: Mapping[str, Any]) -> dict[str, Any]:
    """What a request for *action* takes from the filled-in *form*; empty fields are left out."""
    if action == "stop_trial":
        return {"trial": form.get("stopped")}
    if action == "clone":
        texts = {name: str(form.get(name) or "").strip() for name, _, _ in CHANGES}
        if form.get("seed") == 0:  # a value, not an empty field
            texts["seed"] = "0"
        changes = {name: text for name, text in texts.items() if text}
        return {"trial": form.get("cloned"), "changes": changes}
    if action == "raise_budget":
        return {"budget": {"trials": form.get("trials"), "gpu_hours": form.get("hours")}}
    return {}


#: Fields with suggestions, by the table's column that holds them.
_SUGGESTED = {"model": "model", "method": "method", "mix": "mix", "volume": "volume"}


def possible(context: PageContext, search: str | None) -> tuple[Any, ...]:
    """Which buttons can be pressed now, the running trials, of which sweep, and values known so far."""
    view = context.view(search)
    if view is None:
        return (True, True, True, [], None, _STOP, *([] for _ in _SUGGESTED))
    state, table = view.info.state, view.analysis.table
    tuned = table[table["method"] != "none"]
    running = [html.Option(value=str(trial.number)) for trial in view.running]
    known = [
        [html.Option(value=str(value)) for value in sorted(tuned[column].dropna().unique())]
        for column in _SUGGESTED.values()
    ]
    can = (state != "running", state != "paused", not view.info.is_live)
    return (*can, running, view.info.name, f"{_STOP} {view.info.name}", *known)


def panel() -> html.Section:
    """The buttons and forms; what depends on the sweep's state waits for that."""
    return card(
        "Control",
        html.Div(
            [
                html.Button("Pause", id="control-pause", className="button", disabled=True),
                html.Button("Resume", id="control-resume", className="button", disabled=True),
            ],
            className="actions",
        ),
        html.Div([_stop(), _stop_trial(), _clone(), _raise()], className="asks"),
        dcc.Store(id=_SHOWN),
        html.P(id=_SAID, className="said", role="status", **{"aria-live": "polite"}),
        lead="A paused sweep lets running trials end and starts none. The driver takes a request within "
        "seconds; what it answers stands under Requests.",
    )


def _stop() -> html.Details:
    return html.Details(
        [
            html.Summary("Stop the sweep"),
            html.P(
                [
                    "Running trials end, to go on from their last checkpoint when the same ",
                    html.Code("sft-select run"),
                    " is given again. What has ended is kept.",
                ]
            ),
            html.Button(_STOP, id="control-stop", className="button danger", disabled=True),
        ]
    )


def _stop_trial() -> html.Details:
    return html.Details(
        [
            html.Summary("Stop one trial"),
            html.P("It ends without a result and is never recommended; the sweep goes on."),
            _field("Trial number", FIELDS["stopped"], kind="number", suggestions="control-running"),
            html.Datalist(id="control-running"),
            html.Button("Yes, stop this trial", id="control-stop-trial", className="button danger"),
        ]
    )


def _clone() -> html.Details:
    inputs = [
        _field(
            label,
            FIELDS[name],
            kind="number" if name == "seed" else "text",
            hint=hint,
            suggestions=f"control-known-{name}" if name in _SUGGESTED else None,
        )
        for name, label, hint in CHANGES
    ]
    return html.Details(
        [
            html.Summary("Clone a trial with changed values"),
            html.P(
                "Runs a trial once more with what you change, on top of the budget. Values must be some "
                "that the sweep compares; a refusal says which these are."
            ),
            html.Div(
                [_field("Trial number", FIELDS["cloned"], kind="number"), *inputs],
                className="fields",
            ),
            *[html.Datalist(id=f"control-known-{name}") for name in _SUGGESTED],
            html.Button("Clone it", id="control-clone", className="button primary"),
        ]
    )


def _raise() -> html.Details:
    return html.Details(
        [
            html.Summary("Raise the budget"),
            html.P("To a new whole, in the kind that the sweep has. It is kept for later starts."),
            html.Div(
                [
                    _field("Trials in all", FIELDS["trials"], kind="number"),
                    _field("or device hours in all", FIELDS["hours"], kind="number"),
                ],
                className="fields",
            ),
            html.Button("Raise it", id="control-raise", className="button primary"),
        ]
    )


def _field(
    label: str, identity: str, *, kind: str, hint: str = "", suggestions: str | None = None
) -> html.Label:
    extra: dict[str, Any] = {"list": suggestions} if suggestions else {}
    if kind == "number":
        extra |= {"min": 0, "step": "any"}
    field = dcc.Input(id=identity, type=kind, placeholder=hint, autoComplete="off", **extra)
    return html.Label([label, field], className="ask-field")
