"""`python -m mobanet.test --ckpt_path FILE`: evaluate a checkpoint on the test tiles."""

from mobanet.cli import main

if __name__ == "__main__":
    main("test")
