"""The `gossipbook` command: what people run to see the library at work.

`app` parses; `replay`, `simulate` and `demo` do. Everything here may use the wall clock and a
terminal, and nothing below imports any of it.
"""
