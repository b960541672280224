"""`python -m mobanet.test --ckpt_path FILE`: evaluate a checkpoint on the test tiles."""

if __name__ == "__main__":
    # here, so that processes that prepare tiles and import this file anew do not load all of it
    from mobanet.start import start

    start("test")
