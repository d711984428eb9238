"""A real QEMU with a guest that makes trouble on order; nothing here imports another part of the package."""
