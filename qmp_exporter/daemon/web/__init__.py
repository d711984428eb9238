"""The fleet -> pages: metrics, JSON, a page to look at."""
