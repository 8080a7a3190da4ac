"""The network that tells kinds of MR images by their voxels: trained on synthetic heads with simulated physics.

``anatomy`` adds what the brain network's heads lack, ``tissue`` has relaxation times and the agent, ``signal`` the
equations, ``protocols`` and ``others`` draw sequences, ``scene`` scans them; ``net`` is the network, ``trainer`` trains
and calibrates it and ``package`` writes the model that is served.
"""
