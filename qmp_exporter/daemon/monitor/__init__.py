"""A monitor socket -> the life of one VM: connect, ask, listen, back off."""
