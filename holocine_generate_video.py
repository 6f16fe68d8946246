"""Make a video of several shots with HoloCine: see `python holocine_generate_video.py --help`."""

from holocine_ext.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
