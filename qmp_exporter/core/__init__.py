"""HOW a message becomes text: pure functions and small states; no asyncio, sockets, files, clock, chance or logging."""
