"""sft-select: the answers, shown."""
