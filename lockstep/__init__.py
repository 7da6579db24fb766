"""Training several seeds as one, and CUDA graphs: an addition to the training loop, which does not know it."""
