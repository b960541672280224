"""MoBaNet (arXiv 2603.17705): two sensors through one frozen transformer, and the parts that are trained around it."""
