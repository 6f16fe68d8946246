"""Write, watch and change a film in a browser: see `python holocine_studio.py --help`."""

from holocine_ext.studio.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
