"""The training loop, batches, checkpoints and the choice of the device. Needs torch and numpy only."""
