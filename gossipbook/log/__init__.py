"""Who said what, and in which order to read it.

A log is one author's signed, hash-chained entries. This package decides which bytes are an
entry, how entries connect, what proves that an author forked its log, and in which order the
entries of all authors are read. It promises that every answer depends on the set of entries only,
never on when or from whom they came. It does not know what an entry's payload means.
"""
