"""velatura models: what is known, here and missing."""

from __future__ import annotations


def models() -> None:
    """List the known models: where each is from, whether it is here, its size and licence."""
    from rich.console import Console
    from rich.table import Table

    from velatura.models.catalogue import KNOWN
    from velatura.models.loading import is_present

    table = Table("name", "here", "MB", "licence", "source", "for")
    for model in KNOWN:
        place = {"embedded": "in the package", "wheel": f"pip: {model.place}", "hub": model.place}[model.source]
        table.add_row(
            model.name,
            "yes" if is_present(model) else "no",
            str(model.size),
            model.licence,
            place,
            model.purpose,
        )
    Console().print(table)
