"""Files to facts: the estate's YAML and a site's settings, every fault at once, with file and line.

``marked`` parses with places · ``folder`` gathers sections · ``reading`` reads records · ``places`` and ``systems``
make the facts and judge them · ``estate`` puts them together · ``schema`` tells editors what may stand there ·
``site`` is a process's own ``site.yaml``.
"""

from ncia.core.config.estate import check_estate, load_estate
from ncia.core.config.schema import estate_schema
from ncia.core.config.site import SiteSettings, load_settings

__all__ = ["SiteSettings", "check_estate", "estate_schema", "load_estate", "load_settings"]
