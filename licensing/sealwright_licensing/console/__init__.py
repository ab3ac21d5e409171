"""The console: pages for those who operate the service, on top of :mod:`sealwright_licensing.operators`.

A tour: :mod:`.guard` lets people in, :mod:`.pages` renders, :mod:`.languages` speaks, :mod:`.forms` reads what is sent.
``*_pages`` are what is looked at, ``*_operations`` what is done; each operation is one of
:mod:`sealwright_licensing.operations`. Pages need no script; htmx only saves reloading them.
"""
