"""The list of troubles, and settings for a site -> the alert rules of Prometheus, and a runbook for each alert."""
