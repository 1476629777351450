"""The method plugins, one file each: RetMask, its controls, and two baselines without heads."""
