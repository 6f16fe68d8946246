"""Make a video from a text with Wan2.2: see `python wan2_generate_video.py --help`."""

from wan2.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
