"""The jobs in a SQL database: tables, statements, and the verbs on them. Knows no Flask."""
