"""The API of a running exporter -> a live view of its VMs in a terminal, as top has of processes."""
