"""What follows a run from outside: metrics.csv, Weights & Biases, TensorBoard, and the pictures that these get."""
