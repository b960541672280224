"""`python -m mobanet.fit --experiment NAME`: train a model."""

if __name__ == "__main__":
    # here, so that processes that prepare tiles and import this file anew do not load all of it
    from mobanet.start import start

    start("fit")
