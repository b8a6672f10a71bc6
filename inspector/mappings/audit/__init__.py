"""What is wrong, or worth knowing, in whole address spaces: rules as data, and the passes that look for them.

:func:`inspector.mappings.audit.run.audit` is the way in; :mod:`inspector.mappings.audit.rules` says what is looked for.
"""
