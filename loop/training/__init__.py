"""The trainers: each runs in a child process and brings torch. Import none of them anywhere else."""
