"""Downloads: the YAML of a recommendation, a zip for each other trainer, the filtered trials as CSV.

A request names a sweep, a question and one of the files of :data:`FILES`; no path is made of it.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

import pandas as pd
from flask import Flask, Response, abort, request

from dashboards.answers import EVIDENCE_NAME, FILE_NAME, Answer
from dashboards.state import Query, href, parse_query
from dashboards.trials.query import select, state_in
from tracker.errors import InputError, SftSelectError
from tracker.export import TRAINERS

#: The files that can be downloaded, each with its trainer.
FILES: dict[str, str | None] = {
    FILE_NAME: None,
    EVIDENCE_NAME: None,
    **{f"{to}.zip": to for to in TRAINERS},
}
#: A spreadsheet reads a text with such a beginning as a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: The time of every member of a zip: a file is the same whenever it is made.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
#: The parts of the address that make the question.
QUESTION = ("constraint", "target_quality", "weight")


class File(NamedTuple):
    """A file for download."""

    content: bytes
    mimetype: str


def export_path(sweep: str, query: Query, name: str = FILE_NAME) -> str:
    """The address of the file *name* for the question in *query*."""
    question = Query(None, tuple(pair for pair in query.given if pair[0] in QUESTION))
    return href(f"/export/{quote(sweep, safe='')}/{name}", question)


def file_of(answer: Answer, name: str) -> File | None:
    """The file *name* of *answer*; ``None`` where there is no such file.

    Raises InputError where its trainer cannot train this, and where there is no file to train from.
    """
    if name not in FILES:
        return None
    if answer.config is None or answer.evidence is None:
        raise InputError(f"{answer.no_file[0].lower()}{answer.no_file[1:-1]}")
    trainer = FILES[name]
    if trainer is None:
        text = answer.evidence if name == EVIDENCE_NAME else answer.config
        return File(text.encode(), "application/yaml")
    recipe = answer.recipes[trainer]
    if isinstance(recipe, str):
        raise InputError(recipe)
    texts = {FILE_NAME: answer.config, EVIDENCE_NAME: answer.evidence}
    return File(_zipped({**recipe, **texts, "README.txt": _readme(trainer)}), "application/zip")


def rows_command(trainer: str) -> str:
    """The command that writes the training rows beside the files of *trainer*."""
    return f"sft-select export {FILE_NAME} --to {trainer} --output ."


def serve_exports(server: Flask, find: Callable[[str, Query, str], File | None]) -> None:
    """Add ``/export/<sweep>/<file>``; *find* gives the file for a sweep, a question and a name."""

    @server.get("/export/<sweep>/<file>")
    def export(sweep: str, file: str) -> Response:
        try:
            content = find(sweep, parse_query(request.query_string.decode(errors="replace")), file)
        except SftSelectError as error:
            return Response(f"{error}\n", status=409, mimetype="text/plain")
        if content is None:
            abort(404)
        headers = {
            "Content-Disposition": f"attachment; filename={file}",
            "Cache-Control": "no-store",
        }
        return Response(content.content, mimetype=content.mimetype, headers=headers)


def _readme(trainer: str) -> str:
    return (
        "The training rows are not in this archive. On the machine where the sweep ran, unpack it, and in "
        f"its folder run\n\n    {rows_command(trainer)}\n\n"
        f"which writes the rows and the same files again. {FILE_NAME} is the whole configuration and "
        f"{EVIDENCE_NAME} the evidence for it. To train it with sft-select itself:\n\n"
        f"    sft-select train {FILE_NAME}\n"
    )


def _zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), text, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def csv_path(sweep: str, query: Query) -> str:
    """The address of the trials of *sweep* with the filters in *query*."""
    filters = tuple(pair for pair in query.given if pair[0] in ("any", "sort", "where"))
    return href(f"/trials/{quote(sweep, safe='')}.csv", Query(None, filters))


def csv_text(frame: pd.DataFrame, query: Query) -> str:
    """The rows of *frame* with the filters and the sort of *query*, all columns; absent is empty."""
    rows = frame.iloc[select(frame, state_in(query, frame.columns))]
    texts = {
        str(name): rows[name].astype("string").map(defused, na_action="ignore")
        for name in rows.columns
        if not pd.api.types.is_numeric_dtype(rows[name])
    }
    text: str = rows.assign(**texts).rename(columns=defused).to_csv(index=False)
    return text


def defused(text: str) -> str:
    """*text* with a quote before it where a spreadsheet would run it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def serve_csv(server: Flask, find: Callable[[str], pd.DataFrame | None]) -> None:
    """Add ``/trials/<sweep>.csv?where=…&sort=…``; *find* gives a sweep's trials, if there is one."""

    @server.get("/trials/<sweep>.csv")
    def trials_csv(sweep: str) -> Response:
        frame = find(sweep)
        if frame is None:
            abort(404)
        query = parse_query(request.query_string.decode(errors="replace"))
        name = quote(f"{sweep}-trials.csv", safe="")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        text = csv_text(frame, query)
        return Response(text, mimetype="text/csv", headers=headers)
