"""The same run on a Dask cluster or on SLURM."""
