"""Training on many devices that equals training on one."""
