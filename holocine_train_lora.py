"""Train two LoRAs on clips of several shots: see `python holocine_train_lora.py --help`."""

from holocine_ext.teach.train_cli import main

if __name__ == "__main__":
    raise SystemExit(main())
