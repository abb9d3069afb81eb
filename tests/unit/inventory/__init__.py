"""Replies handed out, traces, and the Lua scripts: their loader and their words."""
