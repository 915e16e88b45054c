"""sft-select: sweeps of real fine-tunes make results."""
