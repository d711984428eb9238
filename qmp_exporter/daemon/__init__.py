"""WHERE bytes and time come from: asyncio; each file owns one kind of waiting."""
