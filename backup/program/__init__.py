"""The program of a system (packages, configuration, timers, certificates, zone records, schema version): compared
between the sites (``inventory``, pure), and copied to the other site (``task``); ``hosts`` does it over SSH."""
