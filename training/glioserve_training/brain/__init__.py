"""The brain extraction network: trained on synthetic heads alone, by domain randomisation.

``atlas`` and ``head`` say what is where, ``surgery`` adds tumours, cavities and craniotomies, ``contrast`` says what it
looks like, ``scan`` how it is scanned; ``bank`` keeps heads on disk, ``unet`` is the network, ``trainer`` trains it and
``package`` writes the model that is served.
"""
