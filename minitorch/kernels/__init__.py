"""Speed only. Delete this folder and everything still works, on the formulas of ops/. See README.md here."""
