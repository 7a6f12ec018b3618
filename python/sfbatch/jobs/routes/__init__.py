"""The REST interface: one file for each noun. A route reads the request, calls a room, and shows what it returned."""
