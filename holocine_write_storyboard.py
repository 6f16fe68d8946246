"""Write a storyboard from a few words: see `python holocine_write_storyboard.py --help`."""

from holocine_ext.write.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
