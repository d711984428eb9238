"""The host's kernel -> what it says of a VM's process, its threads, its control group and its network interfaces.

All of it is read from /proc, /sys and cgroupfs, files that the kernel makes without waiting for the process: not in a
thread, for they take some microseconds each.
"""
