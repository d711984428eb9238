"""HTTP and TLS -> pages: metrics, JSON, a page to look at."""
