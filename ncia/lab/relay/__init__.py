"""The WAN of the lab: one end per site, a mutually authenticated connection per link, many channels in each.

``frames`` is the wire format · ``faults`` what a link can suffer · ``stream`` a socket that never blocks · ``channel``
one TCP connection carried across · ``link`` the far end as this end sees it · ``tunnel`` the connection to it ·
``doorway`` a translated address that can fall silent · ``control`` how the lab sets faults · ``end`` the process.
"""
