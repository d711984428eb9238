"""The RPC of libvirt's daemons, as far as a watcher of QEMU needs it: bytes, typed messages, one conversation."""
