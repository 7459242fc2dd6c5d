"""What `recovery up` runs: the embedded Valkey, beat, the workers and Flower, as child processes of one supervisor.

Import from the submodule that you need: a worker wants only `child`, not the supervisor.
"""
