"""Detection by Sigma rules (https://sigmahq.io): ``rules`` reads and sorts them, ``conditions`` compiles them,
``correlate`` counts and orders, ``detector`` makes attacks of it all."""
