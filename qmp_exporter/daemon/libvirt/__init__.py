"""A libvirt daemon of this host -> sessions with the QEMUs of its domains, without a monitor of our own."""
