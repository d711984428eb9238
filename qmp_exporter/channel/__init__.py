"""The two processes: a request of the one that faces the network -> an answer of the one that holds the monitors."""
