-- Redis runs Lua 5.1 with these globals; a script may use nothing else and define none.
std = "lua51"
read_globals = { "redis", "cjson", "cmsgpack", "bit", "struct", "KEYS", "ARGV" }
max_line_length = 100
ignore = { "211" } -- an include brings more than one script needs
