"""From a data set's files to the tile store, the store itself, and looking at a data set without building one."""
