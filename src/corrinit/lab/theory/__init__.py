"""The theory page and the tables of the documents: `corrinit.theory` evaluated on real images."""
