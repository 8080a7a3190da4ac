"""A bridge between a PACS and a glioserve server: it finds studies, has them answered, and stores the results.

A study passes through the states of :class:`glioserve_pacs.records.state.Phase`; :class:`glioserve_pacs.bridge.Bridge`
moves it, and ``docs/pacs.md`` describes it for operators. Needs the extra ``pacs``.
"""
