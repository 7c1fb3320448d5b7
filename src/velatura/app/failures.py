"""How a command ends when something stops it: one sentence, and an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from velatura.app.terminal import say
from velatura.errors import VelaturaError

WRONG, STOPPED = 2, 130
# What Typer ends a command with itself; its ClickException, the base of all usage errors, is exported by no version.
CONTROL: tuple[type[Any], ...] = (typer.Exit, typer.Abort, typer.BadParameter.__mro__[2])
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class Program(TyperGroup):
    """Typer's group of commands, of which each ends with at most one sentence on standard error."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; with ``--debug`` what stops it is raised."""
        with told(bool(ctx.params.get("debug"))):
            return super().invoke(ctx)


@contextmanager
def told(debug: bool) -> Iterator[None]:
    """Say in one sentence what was raised in the block, and raise Typer's Exit with the exit code instead.

    With ``debug`` everything but an interruption is raised as it is.
    """
    try:
        yield
    except CONTROL:
        raise
    except KeyboardInterrupt:
        say("Stopped; nothing was left half-written.")
        raise typer.Exit(STOPPED) from None
    except Exception as error:
        if debug:
            raise
        say(sentence(error), style="red")
        raise typer.Exit(WRONG) from None


def sentence(error: Exception) -> str:
    """What an error means to the user, and what to do."""
    if isinstance(error, VelaturaError):
        return str(error)
    name, reason = type(error).__name__, next(iter(str(error).splitlines()), "")
    if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in OUT_OF_MEMORY):
        return "The memory of this machine does not suffice: give a smaller --size, or close other programs."
    if isinstance(error, FileExistsError) and error.filename and not Path(error.filename).is_dir():
        return f"{error.filename} is a file, and a folder is needed: give another name."
    if isinstance(error, OSError) and error.filename:
        return (
            f"{error.filename} cannot be used ({error.strerror}): check its name, its permissions and the space on the "
            "disk; --debug shows where it happened."
        )
    if name == "SafetensorError":
        return f"A file of tensors is damaged ({reason}): get or fit it again; --debug shows where it happened."
    return f"The command could not be done ({name}{': ' if reason else ''}{reason}); --debug shows where it happened."


class _PatientFile(io.FileIO):
    """A file whose writes are lost, and no error, once nobody reads the other end of its pipe."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(data)


def outlive_readers() -> None:
    """Go on when standard output or error is a pipe that closes; what they cannot encode is written escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is not io.TextIOWrapper:
            continue  # replaced by whoever runs us
        stream.flush()
        file = io.BufferedWriter(_PatientFile(stream.fileno(), "w", closefd=False))
        setattr(sys, name, io.TextIOWrapper(file, stream.encoding, "backslashreplace", line_buffering=True))
