"""sft-select: what was measured, and what it says."""
