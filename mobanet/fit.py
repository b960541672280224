"""`python -m mobanet.fit --experiment NAME`: train a model."""

from mobanet.cli import main

if __name__ == "__main__":
    main("fit")
