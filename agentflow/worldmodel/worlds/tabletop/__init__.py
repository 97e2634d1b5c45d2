"""`tabletop`: a jointed arm pushes three blocks over a table on which a glass must not be touched."""
