"""``python -m velatura``: the command line."""

from velatura.app.cli import main

if __name__ == "__main__":
    main()
