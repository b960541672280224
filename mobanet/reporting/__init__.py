"""A run folder as one HTML page that needs no other file and no network; see `mobanet.report`."""
