"""The `gossipbook` command: what people run to see the library at work.

`app` parses, `replay` and `simulate` do; everything here may use the wall clock and a terminal,
and nothing below imports any of it.
"""
