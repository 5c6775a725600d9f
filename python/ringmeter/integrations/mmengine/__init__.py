"""mmengine on ringmeter: an unmodified ``Runner``, with the same lines, records and checkpoints.

In a script::

    from ringmeter.integrations import mmengine as backend

    backend.install()

or in a config::

    custom_imports = dict(imports=['ringmeter.integrations.mmengine.auto'])
"""

from __future__ import annotations

from .._requirement import require

require('mmengine', '0.10', 'mmengine', 'mmengine-lite')

from ._backend import accelerated, install, uninstall  # noqa: E402

__all__ = ['accelerated', 'install', 'uninstall']
