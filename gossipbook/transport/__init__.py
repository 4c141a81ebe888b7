"""How frames get from one peer to another: one interface, a file for each way of doing it."""
