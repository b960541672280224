"""From downloaded files to the tile store, and looking at them without building one."""
