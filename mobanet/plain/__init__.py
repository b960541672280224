"""What needs neither torch nor rasters: files of text read within bounds, words, tables of text, processes."""
