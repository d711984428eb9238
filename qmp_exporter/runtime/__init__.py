"""What any daemon needs: calls in threads, tasks that are restarted, files that change, sockets of its own."""
