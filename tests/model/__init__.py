"""A model of the coordinator: two worlds, one in memory and one on a database, that must always agree and keep the laws."""
