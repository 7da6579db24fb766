"""The one training loop, evaluation by groups, selection of weights, checkpoints. Torch and numpy only."""
