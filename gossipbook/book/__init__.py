"""What orders do to each other: commands, events, the book, the matching engine, its digest.

Pure: commands come in decoded and in merge order, values go out. Nothing here knows of logs,
peers, time or chance, and one market's engine does not know of another's. Start with
`commands.py` for what goes in, `events.py` for what comes out, `matching.py` for the rules.
"""
