"""Control of a running sweep: buttons and forms of the Sweep page, only with ``dashboard --control``.

They stay while the page around them is redrawn, so that nobody loses what they type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dash import Dash, Input, Output, State, ctx, dcc, html, no_update

from dashboards.components import card
from dashboards.context import ADDRESS, VERSION, PageContext

#: Id of the panel's place in the page.
PLACE = "sweep-control"
_REPLY = "control-said"
_SWEEP = "control-shown"  # the name of the sweep that the visitor sees
_STOP = "Yes, stop the sweep"
#: Buttons by id, with the action that each requests.
BUTTONS = {
    "control-pause": "pause",
    "control-resume": "resume",
    "control-stop": "stop",
    "control-stop-trial": "stop_trial",
    "control-clone": "clone",
    "control-raise": "raise_budget",
}
#: What may be changed in a clone, with its label.
CHANGES = {
    "model": "Base model",
    "method": "Method",
    "mix": "Task mix",
    "volume": "Examples",
    "learning_rate": "Learning rate",
    "seed": "Seed",
}
#: Fields of a clone with suggestions, which are values of the results table.
_SUGGESTED = ("model", "method", "mix", "volume")
#: Ids of the inputs, by their name in a form.
FIELDS = {
    "stopped": "control-stopped",
    "cloned": "control-cloned",
    "trials": "control-trials",
    "hours": "control-hours",
    **{name: f"control-set-{name}" for name in CHANGES},
}


def connect(app: Dash, context: PageContext) -> None:
    """The panel's callbacks; none where *context* may not send requests."""
    if context.add_request is None:
        return
    app.callback(Output(PLACE, "children"), Input(PLACE, "id"))(lambda _place: panel())

    def fill(_version: str | None, search: str | None) -> tuple[Any, ...]:
        return possible(context, search)

    app.callback(
        Output("control-pause", "disabled"),
        Output("control-resume", "disabled"),
        Output("control-stop", "disabled"),
        Output("control-running", "children"),
        Output(_SWEEP, "data"),
        Output("control-stop", "children"),
        *(Output(f"control-known-{name}", "children") for name in _SUGGESTED),
        VERSION,
        ADDRESS,
    )(fill)

    def send(
        clicks: Mapping[str, int | None],
        form: Mapping[str, str | int | float | None],
        search: str | None,
        sweep: str | None,
    ) -> Any:
        pressed = ctx.triggered_id
        if pressed not in BUTTONS or not clicks.get(pressed):
            return no_update
        return context.send_request(
            search, BUTTONS[pressed], sweep, **fields(BUTTONS[pressed], form)
        )

    app.callback(
        output=Output(_REPLY, "children"),
        inputs={
            "clicks": {button: Input(button, "n_clicks") for button in BUTTONS},
            "form": {name: State(identity, "value") for name, identity in FIELDS.items()},
            "search": State("url", "search"),
            "sweep": State(_SWEEP, "data"),
        },
        prevent_initial_call=True,
    )(send)


def fields(action: str, form: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request for *action*, from the filled-in *form* without its empty fields."""
    if action == "stop_trial":
        return {"trial": form.get("stopped")}
    if action == "clone":
        texts = {name: str(form.get(name) or "").strip() for name in CHANGES}
        if form.get("seed") == 0:  # a value, not an empty field
            texts["seed"] = "0"
        changes = {name: text for name, text in texts.items() if text}
        return {"trial": form.get("cloned"), "changes": changes}
    if action == "raise_budget":
        return {"budget": {"trials": form.get("trials"), "gpu_hours": form.get("hours")}}
    return {}


def possible(context: PageContext, search: str | None) -> tuple[Any, ...]:
    """The disabled state of three buttons, running trials, sweep, stop button, and suggested values."""
    view = context.view(search)
    if view is None:
        return (True, True, True, [], None, _STOP, *([] for _ in _SUGGESTED))
    state, table = view.info.state, view.analysis.table
    tuned = table[table["method"] != "none"]
    running = [html.Option(value=str(trial.number)) for trial in view.running]
    suggestions = [
        [html.Option(value=str(value)) for value in sorted(tuned[column].dropna().unique())]
        for column in _SUGGESTED
    ]
    disabled = (state != "running", state != "paused", not view.info.is_live)
    return (*disabled, running, view.info.name, f"{_STOP} {view.info.name}", *suggestions)


def panel() -> html.Section:
    """The buttons and forms, before the sweep's state is known."""
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
        dcc.Store(id=_SWEEP),
        html.P(id=_REPLY, className="said", role="status", **{"aria-live": "polite"}),
        lead="A paused sweep lets running trials end and starts none. The driver answers a request within "
        "seconds; its answers stand under Requests.",
    )


def _stop() -> html.Details:
    return html.Details(
        [
            html.Summary("Stop the sweep"),
            html.P(
                [
                    "Running trials are stopped. They continue from their last checkpoint with the same ",
                    html.Code("sft-select run"),
                    ". Ended trials are kept.",
                ]
            ),
            html.Button(_STOP, id="control-stop", className="button danger", disabled=True),
        ]
    )


def _stop_trial() -> html.Details:
    return html.Details(
        [
            html.Summary("Stop one trial"),
            html.P("It ends without a result and is never recommended; the sweep continues."),
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
            hint="as it was",
            suggestions=f"control-known-{name}" if name in _SUGGESTED else None,
        )
        for name, label in CHANGES.items()
    ]
    return html.Details(
        [
            html.Summary("Clone a trial with changed values"),
            html.P(
                "Runs a trial once more with the values that you change, on top of the budget. The sweep "
                "must compare these values already; a refusal lists the allowed ones."
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
            html.P("The new total, in the unit of the sweep's budget. Later starts keep it."),
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
