"""Networks: inputs and their availability in, logits and latent out; no Lightning here."""
