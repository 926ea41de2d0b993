"""What scores runs: collections, measures by query, tests of significance, tables. No command lines in here."""
