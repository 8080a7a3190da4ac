"""Clinical studies of a phantom: what scanners save beside the sequences, and what goes wrong.

``physics`` computes a tissue's signal from the timings, ``techniques`` holds the makers' ways to scan and to name a
scan, ``patient`` scans one head by them, ``series`` is a series and its files, ``copies`` makes further reconstructions
of it, ``bystanders`` scans other images, and ``agents`` lists what technologists write about
contrast agents.
"""
