"""Score videos against their storyboards: see `python holocine_evaluate.py --help`."""

from holocine_ext.evaluate.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
