"""Configuration, file system and callers -> the VMs that are watched now."""
