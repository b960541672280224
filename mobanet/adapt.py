"""`python -m mobanet.adapt --ckpt_path FILE`: batch statistics of scenarios for a model trained with every sensor."""

if __name__ == "__main__":
    # here, so that processes that prepare tiles and import this file anew do not load all of it
    from mobanet.start import start

    start("adapt")
