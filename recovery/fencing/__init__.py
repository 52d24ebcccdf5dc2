"""Fencing: who may write at a site, until when, and what is done to whoever may not.

``etcd`` speaks to the third vote; ``lease`` decides (pure); ``warden`` holds the site's lease; ``gate`` lets writes
pass only while it is held; ``watch`` stops the postmasters where that fails; ``claims`` is what a recovery run uses.
"""
