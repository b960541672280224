"""Files as they were downloaded: in folders and archives, on their own grids, with their own colours."""
