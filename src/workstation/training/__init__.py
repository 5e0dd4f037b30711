"""What every training run shares: the device, the seed, the loop, and what watches it. One of each."""
