"""Several registered ids in one env: what each row plays, who answers it and what it is paid are its id's own."""
