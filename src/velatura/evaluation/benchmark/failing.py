"""What stops one picture of many, as a sentence for whoever reads of the others."""

from __future__ import annotations

from velatura.errors import VelaturaError


def reason(error: Exception) -> str:
    """An error's own sentence, or its kind and first line.

    >>> reason(VelaturaError("No.")), reason(KeyError("x"))
    ('No.', "KeyError: 'x'")
    """
    if isinstance(error, VelaturaError):
        return str(error)
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".removesuffix(": ")
