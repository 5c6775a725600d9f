"""ringmeter inside of others' trainers: a module for each, imported by who has that trainer."""
