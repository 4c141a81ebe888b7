"""The protocol's numbers, each with its unit and its reason.

None of them changes what peers agree on; they trade bytes for time. All times are microseconds.
"""

from dataclasses import dataclass

MAX_FRAME_BYTES = 262_144
"""No honest frame is larger: 131,072 bytes of runs and 1,024 heads. To decode one takes 30 ms."""


@dataclass(frozen=True, slots=True)
class GossipConfig:
    """How a peer gossips. The defaults suit 2 to 1,000 peers on the Internet."""

    # Links
    link_target: int = 8
    """Links to everyone up to so many peers, to so many random ones beyond."""
    links_dialled: int = 2
    """Links of our own choice, kept even where others have dialled us more often than the target:
    whoever holds all the links that we were dialled for does not hold these."""
    link_limit: int = 16
    """Links accepted at most; a peer over the limit sends a newcomer on to others."""
    dial_timeout_us: int = 3_000_000
    dial_backoff_us: int = 250_000
    dial_backoff_limit_us: int = 30_000_000
    stood_us: int = 3_000_000
    """How long a link has to stand until dials that failed before are forgiven."""
    forget_after_failures: int = 24
    """Failed dials in a row until a peer that is no bootstrap address is forgotten (~10 min)."""
    renew_us: int = 30_000_000
    """How often one link is given up for a new random one, where there are more peers."""
    address_book_limit: int = 1_024
    peers_us: int = 10_000_000
    peers_sample: int = 16
    ban_us: int = 60_000_000
    """How long a peer that broke a rule is neither dialled nor accepted."""

    # Push
    fanout: int = 3
    """Links that an entry is pushed to; the others are told of it."""
    coalesce_us: int = 2_000
    """How long pushes gather before they go."""
    frame_gap_us: int = 20_000
    """Least time between two rounds in which others' entries are passed on: under load they
    gather for so long. Our own entries do not wait for it."""
    tell_gap_us: int = 100_000
    """The same where there is nothing to pass on and others are only told what we hold. Where
    everybody is linked to everybody that is a safeguard, and was two thirds of all frames."""
    pull_us: int = 20_000
    """How long a peer that was told of an entry waits for somebody to push it."""
    push_entries: int = 256
    """Entries of one author in one push; the rest is told and fetched."""

    # Anti-entropy
    compare_us: int = 1_000_000
    whole_frontier_limit: int = 1_000
    """Authors up to which whole frontiers are exchanged; above, the Merkle walk. 1,024 at most:
    no message may hold more heads."""
    small_frontier_limit: int = 32
    """Authors up to which frontiers are exchanged although recent cuts agree: it costs less
    than waiting 2 s for the difference to show in a cut."""
    walk_leaf_limit: int = 16
    cuts_sent: int = 16

    # Fetching
    chunk_entries: int = 256
    chunk_bytes: int = 131_072
    reply_bytes: int = 32_768
    """What was fetched comes in frames of about this size: on a link of 16 kB/s one takes 2 s, in
    which nothing else is heard of it."""
    fetch_timeout_us: int = 1_000_000
    quick_fetch_entries: int = 16
    quick_fetch_us: int = 100_000
    """Up to so many entries are asked for again after this and four round trips: half of what is
    lost is a single entry's request or answer, and a second is long for those who wait for it."""
    fetches_per_author: int = 4
    fetches_per_link: int = 4
    unknown_authors_limit: int = 4_096
    """Authors of whom a link may claim entries that we have never seen any of."""
    serve_bytes_per_s: int = 16_000_000
    requests_per_s: int = 200
    verifying_bytes_limit: int = 4_194_304
    """Bytes of one link whose signatures are being checked; beyond, its pushes are dropped."""
    verify_bytes: int = 32_768
    """How much of what a link sent at once is checked, and taken in, without a pause for others."""
    max_frame_bytes: int = MAX_FRAME_BYTES

    # Liveness
    ping_us: int = 1_000_000
    phi_threshold_milli: int = 3_000
    """Suspicion (phi in thousandths) at which a link is given up: a silence that a link that lives
    and speaks at random shows once in 10^3; ours speak at regular intervals. With a message every
    0.5 s that is after 3.5 s; every 0.65 s, as in a quiet network of eight, after 4.5 s."""

    # Storing, settling, confirming, auditing
    persist_us: int = 50_000
    """How long others' entries gather before they are written; our own are written at once."""
    persist_retry_us: int = 1_000_000
    """When to write others' entries again after a write failed; our own submits try at once."""
    settle_us: int = 2_000
    """How long the books wait between two settlings by themselves, where somebody subscribed."""
    settle_soon_us: int = 500
    """How long a change waits for company where nothing was settled for that long."""
    settle_unwatched_us: int = 100_000
    """The same where nobody did: reading settles at once, and few late entries are undone."""
    settle_commands: int = 2_048
    """So many commands that have come in are not left to gather: they take some 5 ms."""
    settle_per_undone_us: int = 100
    """How much longer unwatched books wait for each command that was undone the last time, up to a
    second: while whole logs come in side by side, each settling would undo much of the last."""
    confirm_timeout_us: int = 5_000_000
    """How long a submit waits for somebody to confirm our own head."""
    confirm_retry_us: int = 250_000
    """While a submit waits for that, how often links that have not answered are asked again."""
    confirm_grace_us: int = 1_000_000
    """How long the first confirmation waits for those of the other links."""
    audit_slice_commands: int = 2_000
    audit_pause_us: int = 2_000
    audit_per_link_us: int = 600_000_000
