"""Process that runs a user's own score function: python function_process.py FILE FUNCTION SECONDS, on pipes.

It is started by its path and imports the standard library alone, so that it starts quickly and nothing of
ours is in the function's way. It reads (answer, row) pairs, a line of JSON each, and writes a line for each:
``{"value": 0.5}``, or ``{"error": type, "place": line, "words": text}``. What the function
prints goes nowhere.
"""

import faulthandler
import importlib.util
import json
import math
import os
import sys
from typing import Any


def _loaded(path: str, name: str) -> Any:
    spec = importlib.util.spec_from_file_location("score_function", path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["score_function"] = module  # dataclasses and pickles look their module up
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise ImportError(f"it defines no function {name}")
    return function


def _value(returned: Any) -> float:
    """The number that the function returned; text that reads as one is no number."""
    if returned is None or isinstance(returned, str | bytes):
        raise TypeError(f"it returned {type(returned).__name__}, not a number")
    value = float(returned)
    if not math.isfinite(value):
        raise ValueError(f"it returned {value}")
    return value


def _failed(error: BaseException) -> dict[str, str]:
    frames, place = error.__traceback__, ""
    while frames is not None:
        if frames.tb_frame.f_code.co_filename == sys.argv[1]:
            place = f"line {frames.tb_lineno}: "
        frames = frames.tb_next
    words = " ".join(str(error).split())[:300]
    return {"error": type(error).__name__, "place": place, "words": words}


def main() -> None:
    """Answer every pair on standard input until it ends."""
    path, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    replies, requests = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(0), "rb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    silent = os.fdopen(os.dup(nowhere), "w")

    def reply(content: dict[str, Any]) -> None:
        replies.write(json.dumps(content) + "\n")
        replies.flush()

    try:
        function = _loaded(path, name)
    except BaseException as error:
        reply(_failed(error))
        return
    reply({"ready": True})
    while True:
        if not (request := requests.readline()):
            return
        answer, row = json.loads(request)
        # Ends this process by a thread that needs nothing of Python, should its parent be gone by then.
        faulthandler.dump_traceback_later(seconds + 30, exit=True, file=silent)
        try:
            reply({"value": _value(function(answer, row))})
        except BaseException as error:
            reply(_failed(error))
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
