"""Make films into clips with storyboards: see `python holocine_prepare.py --help`."""

from holocine_ext.teach.prepare_cli import main

if __name__ == "__main__":
    raise SystemExit(main())
