"""Crowds of half a million and more over raw sockets, in a process of their own."""
