"""The process of one measurement: python -m velatura.evaluation.performance CASE prints its figures as JSON."""

from __future__ import annotations

import json
import sys

from velatura.errors import VelaturaError
from velatura.evaluation.performance.case import Case
from velatura.evaluation.performance.measuring import measure


def main() -> None:
    """Measure the case of the first argument; an error that the user can put right is printed, with exit code 2."""
    try:
        figures = measure(Case.of_json(sys.argv[1]))
    except VelaturaError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
