"""What people ask for: how they say it is them (``approval``) and who may say what (``policy``)."""
