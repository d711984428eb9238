"""A web configuration file and addresses -> an aiohttp application served over TLS, with passwords and limits.

It knows nothing of VMs: what it needs beside aiohttp is in `documents` (YAML with the place of each mistake) and in
`runtime` (threads, tasks and sockets).
"""
