"""Train several seeds as one, and CUDA graphs: built on top of the training loop, which does not depend on it."""
