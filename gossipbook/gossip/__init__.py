"""Who needs what: the gossip protocol as one state machine without I/O.

``GossipProtocol.handle(input, now)`` takes what happened and returns what must happen, in order.
Reading order: ``interface`` (what goes in and out), ``protocol`` (the state machine, with an
essay at its head), then the parts it leans on: ``messages``, ``reconcile``, ``membership``,
``failure_detector``, ``divergence``, ``sampling``.
"""
