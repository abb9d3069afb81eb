"""The Lua scripts on a bare Redis: calls, answers, stored state, and the servers to run them on."""
