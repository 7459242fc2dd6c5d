"""`make torture`: recoveries on a real platform while its parts are killed and frozen, and a judge that looks from the outside."""
