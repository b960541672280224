"""`python -m mobanet.scores --ckpt_path FILE`: latent distortion of every scenario, and probabilities from it."""

if __name__ == "__main__":
    # here, so that processes that prepare tiles and import this file anew do not load all of it
    from mobanet.start import start

    start("scores")
