"""`python -m ncia.lab.apps --settings SITE/site.yaml`: serve the hosted systems of that site."""

from __future__ import annotations

from ncia.lab.apps.process import main

if __name__ == "__main__":
    main()
