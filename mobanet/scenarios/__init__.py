"""Which modalities are there: masking now; scenarios of missing modalities and their sampling."""
